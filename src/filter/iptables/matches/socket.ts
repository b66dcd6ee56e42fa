/**
 * Conditions on a socket of the node that a packet belongs to: socket and cgroup. No packet here has one, and neither match
 * holds then, negated or not. Source: kernel net/netfilter/xt_socket.c, xt_cgroup.c.
 */
import { parseU32 } from "../../words.ts";
import { Answer, bang, type MatchKinds, type MatchReader } from "./extension.ts";

export const socketReaders: Readonly<Record<string, MatchReader>> = {
  socket: {
    options: {
      "--transparent": { values: 0 },
      "--nowildcard": { values: 0 },
      "--restore-skmark": { values: 0 },
    },
    read: (options) => [
      {
        kind: "socket",
        ...(options.has("--transparent") ? { transparent: true } : {}),
        ...(options.has("--nowildcard") ? { noWildcard: true } : {}),
        ...(options.has("--restore-skmark") ? { restoreMark: true } : {}),
      },
    ],
  },
  cgroup: {
    options: { "--cgroup": { values: 1, not: true } },
    read: (options) => {
      const classId = options.read("--cgroup", parseU32, "a class number");
      if (classId === undefined) throw options.incomplete("-m cgroup is supported with --cgroup");
      return [{ kind: "cgroup", classId, ...options.not("--cgroup") }];
    },
  },
};

const noSocket = "the packet belongs to no socket of the node";

export const socketKinds: MatchKinds<"socket" | "cgroup"> = {
  socket: {
    text: ({ transparent, noWildcard, restoreMark }) =>
      `-m socket${transparent ? " --transparent" : ""}${noWildcard ? " --nowildcard" : ""}${restoreMark ? " --restore-skmark" : ""}`,
    explain: () => noSocket,
    bind: () => () => Answer.no,
  },
  cgroup: {
    text: (match) => `-m cgroup ${bang(match)}--cgroup ${match.classId}`,
    explain: () => noSocket,
    bind: () => () => Answer.no,
  },
};
