/** Is a text well-formed XML (1.0, section 2.1), of the plain sort that reports write? */

/** What keeps a text from being well-formed XML: nothing but elements, attributes, escaped text. */
export function faultOf(xml: string): string {
  const open: string[] = [];
  const body = xml.replace(/^<\?xml version="1.0" encoding="UTF-8"\?>/, "");
  for (const [token] of body.matchAll(/<[^>]*>|[^<]+/g)) {
    const tag = /^<(\/?)([a-z-]+)((?: [a-z]+="[^"<&]*(?:&(?:amp|lt|gt|quot);[^"<&]*)*")*)(\/?)>$/.exec(token);
    if (tag === null) {
      if (token.startsWith("<") || token.replaceAll(/&(?:amp|lt|gt|quot);/g, "").includes("&")) return token;
      continue;
    }
    const [, closes, name = "", , isEmpty] = tag;
    if (closes) {
      if (open.pop() !== name) return token;
    } else if (!isEmpty) open.push(name);
  }
  return open.join(" ");
}
