/** How often a law is tried: `npm run soak` (PODWIRE_SOAK=1) tries it a hundred times as often as `npm test`. */
export function runs(usual: number): { readonly numRuns: number } {
  return { numRuns: process.env["PODWIRE_SOAK"] === "1" ? usual * 100 : usual };
}
