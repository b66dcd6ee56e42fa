/**
 * Names that Kubernetes generates: a base and a random suffix. Here the suffix is derived from a key instead of drawn,
 * so that equal input gives equal names. Governing source: k8s.io/apiserver pkg/storage/names/generate.go.
 */
import { hashText } from "../base/index.ts";

/** No vowels and nothing that looks like another letter. */
const alphabet = "bcdfghjklmnpqrstvwxz2456789";
const suffixLength = 5;
const baseMax = 63 - suffixLength;

/** The name of an object with `generateName: base`. */
export function generatedName(base: string, key: string): string {
  return `${base.slice(0, baseMax)}${derivedWord(key, suffixLength)}`;
}

/** A word of Kubernetes' alphabet that looks random. */
export function derivedWord(key: string, length: number): string {
  let word = "";
  for (let i = 0; i < length; i++) {
    // FNV's low bits alone would walk through the alphabet in step with a running number
    const hash = hashText(`${i}/${key}/${i}`);
    word += alphabet[((hash ^ (hash >>> 15)) >>> 0) % alphabet.length];
  }
  return word;
}
