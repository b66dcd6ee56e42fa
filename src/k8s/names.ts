/**
 * Spelling rules of the API server for names, labels and ports. Each check answers everything that is wrong, in the
 * API server's own words; an empty list means that the text is fine.
 * Governing sources: RFC 1123, RFC 1035, RFC 6335 section 5.1, k8s.io/apimachinery pkg/util/validation.
 */
export type Faults = readonly string[];

const label1123 = "[a-z0-9]([-a-z0-9]*[a-z0-9])?";
const label1035 = "[a-z]([-a-z0-9]*[a-z0-9])?";
const subdomain1123 = `${label1123}(\\.${label1123})*`;
const qualified = "([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]";
const labelValue = `(${qualified})?`;

const label1123Pattern = whole(label1123);
const label1035Pattern = whole(label1035);
const subdomain1123Pattern = whole(subdomain1123);
const qualifiedPattern = whole(qualified);
const labelValuePattern = whole(labelValue);

const ends = "must start and end with an alphanumeric character";
const qualifiedRule = patternFault(
  `must consist of alphanumeric characters, '-', '_' or '.', and ${ends}`,
  qualified,
  ["MyName", "my.name", "123-abc"],
);
const label1123Rule = patternFault(
  `a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and ${ends}`,
  label1123,
  ["my-name", "123-abc"],
);
const label1035Rule = patternFault(
  "a DNS-1035 label must consist of lower case alphanumeric characters or '-', start with an alphabetic character, and end with an alphanumeric character",
  label1035,
  ["my-name", "abc-123"],
);
const subdomain1123Rule = patternFault(
  `a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and ${ends}`,
  subdomain1123,
  ["example.com"],
);
const labelValueRule = patternFault(
  `a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and ${ends}`,
  labelValue,
  ["MyValue", "my_value", "12345"],
);

function whole(pattern: string): RegExp {
  return new RegExp(`^${pattern}$`);
}

/** How apimachinery words a failed pattern, its odd spaces included. */
function patternFault(rule: string, pattern: string, examples: readonly string[]): string {
  const shown = examples.map((example) => `'${example}', `).join(" or ");
  return `${rule} (e.g. ${shown}regex used for validation is '${pattern}')`;
}

function check(text: string, longest: number, pattern: RegExp, rule: string): Faults {
  const faults: string[] = [];
  if (text.length > longest) faults.push(`must be no more than ${longest} characters`);
  if (!pattern.test(text)) faults.push(rule);
  return faults;
}

/** RFC 1123 labels: namespaces. */
export function dnsLabelFaults(text: string): Faults {
  const isSubdomain = subdomain1123Pattern.test(text);
  return check(text, 63, label1123Pattern, isSubdomain ? "must not contain dots" : label1123Rule);
}

/** RFC 1035 labels: Services. */
export function dnsLabel1035Faults(text: string): Faults {
  return check(text, 63, label1035Pattern, label1035Rule);
}

/** RFC 1123 subdomains: most names. */
export function dnsSubdomainFaults(text: string): Faults {
  return check(text, 253, subdomain1123Pattern, subdomain1123Rule);
}

/** Label and annotation keys: an optional DNS prefix and `/`, then at most 63 characters. */
export function labelKeyFaults(key: string): Faults {
  const [first = "", second, ...more] = key.split("/");
  if (more.length > 0)
    return [
      `a qualified name ${qualifiedRule} with an optional DNS subdomain prefix and '/' (e.g. 'example.com/MyName')`,
    ];
  const faults: string[] = [];
  if (second !== undefined) {
    const prefix = first === "" ? ["must be non-empty"] : dnsSubdomainFaults(first);
    faults.push(...prefix.map((fault) => `prefix part ${fault}`));
  }
  const name = second ?? first;
  if (name === "") faults.push("name part must be non-empty");
  return [
    ...faults,
    ...check(name, 63, qualifiedPattern, qualifiedRule).map((fault) => `name part ${fault}`),
  ];
}

export function labelValueFaults(value: string): Faults {
  return check(value, 63, labelValuePattern, labelValueRule);
}

/** IANA service names, as ports are named (RFC 6335). */
export function portNameFaults(name: string): Faults {
  const faults: string[] = [];
  if (name.length > 15) faults.push("must be no more than 15 characters");
  if (!/^[-a-z0-9]+$/.test(name))
    faults.push("must contain only alpha-numeric characters (a-z, 0-9), and hyphens (-)");
  if (!/[a-z]/.test(name)) faults.push("must contain at least one letter (a-z)");
  if (name.includes("--")) faults.push("must not contain consecutive hyphens");
  if (name.startsWith("-") || name.endsWith("-")) faults.push("must not begin or end with a hyphen");
  return faults;
}

export function portNumberFaults(port: number): Faults {
  return Number.isInteger(port) && port >= 1 && port <= 65535
    ? []
    : ["must be between 1 and 65535, inclusive"];
}
