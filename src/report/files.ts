/** Reports of commands whose result are files, and of `version`. */
import type { CompileDocument, GenerateDocument, VersionDocument } from "../harness/index.ts";
import { csvLine, markdownTable, thousands } from "./format.ts";

export function* compileText({ engine, engineVersion, nodes }: CompileDocument): Iterable<string> {
  for (const { node, directory, files } of nodes)
    yield `${node} on ${engine} (${engineVersion}): ${directory}: ${files.join(", ")}\n`;
}

export function* compileCsv({ nodes }: CompileDocument): Iterable<string> {
  yield csvLine(["node", "directory", "file"]);
  for (const { node, directory, files } of nodes)
    for (const file of files) yield csvLine([node, directory, file]);
}

export function* compileMarkdown({ nodes }: CompileDocument): Iterable<string> {
  const rows = nodes.map(({ node, directory, files }) => [node, directory, files.join(", ")]);
  yield markdownTable(["node", "directory", "files"], rows);
}

export function* generateText({ cluster, seed, files }: GenerateDocument): Iterable<string> {
  const { profile, nodes, pods, namespaces, policies } = cluster;
  yield `${profile}, seed ${seed}: ${thousands(nodes)} nodes, ${thousands(pods)} pods, ${thousands(namespaces)} namespaces, ${thousands(policies)} policies\n`;
  for (const file of files) yield `  ${file}\n`;
}

export function* versionText({ version, node }: VersionDocument): Iterable<string> {
  yield `podwire ${version} (Node ${node})\n`;
}
