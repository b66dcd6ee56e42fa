/** How often a law is tried: `npm run soak` (PODWIRE_SOAK=1) tries it a hundred times as often as `npm test`. */
export function runs(usual: number): { readonly numRuns: number } {
  return { numRuns: isSoak ? usual * 100 : usual };
}

/** True in `npm run soak`, where a choice of cases gives way to all of them. */
export const isSoak: boolean = process.env["PODWIRE_SOAK"] === "1";
