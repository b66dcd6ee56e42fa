/** What a scenario expects of connections, as connections of the cluster that it has come to. */
import { assert, InputError } from "../base/index.ts";
import type { Cell, ClusterState, Connection } from "../k8s/index.ts";
import {
  type Attempt,
  type Expectation,
  type ExpectedVerdict,
  expandExpectedMatrix,
  formatEnd,
  type MatrixExpectation,
} from "../scenario/index.ts";
import { commonFamily, connectionBetween } from "./attempt.ts";
import { resolveEnd, resolveSource } from "./resolve-end.ts";

/** The cells of a truth table, each with its expectation. */
export function expectedCells(state: ClusterState, matrix: MatrixExpectation): readonly ExpectedCell[] {
  return matrix.ends === undefined ? podCells(state, matrix) : endCells(state, matrix);
}

/** @throws InputError for ends that are not there, or have no addresses of one family. */
export function attemptedConnection(state: ClusterState, attempt: Attempt): Connection {
  const [from, to] = [resolveSource(state, attempt.from), resolveEnd(state, attempt.to)];
  const family = commonFamily(from, to, attempt.family === undefined ? undefined : [attempt.family]);
  if (family === undefined)
    throw new InputError([
      { code: "invalid", path: "", message: `${from.id} and ${to.id} have no addresses of one family` },
    ]);
  return connectionBetween(from, to, { ...attempt.port, family });
}

export interface ExpectedCell {
  readonly from: string;
  readonly to: string;
  readonly connection: Connection;
  readonly verdict: Expectation<ExpectedVerdict>;
}

/** Every end of `from` with every end of `to`; an end with itself is not compared. */
function endCells(state: ClusterState, matrix: MatrixExpectation): readonly ExpectedCell[] {
  const { ends, ports, family } = matrix;
  assert(ends !== undefined, "asked where there are ends");
  return ends.from.flatMap((from) =>
    ends.to
      .filter((to) => formatEnd(to) !== formatEnd(from))
      .flatMap((to) =>
        ports.map((port) => ({
          from: formatEnd(from),
          to: formatEnd(to),
          connection: attemptedConnection(state, { from, to, port, family }),
          verdict: matrix.default,
        })),
      ),
  );
}

function podCells(state: ClusterState, matrix: MatrixExpectation): readonly ExpectedCell[] {
  const pods = [...state.pods].filter(([, pod]) => !pod.hostNetwork && pod.ips.length > 0);
  const byName = new Map(pods);
  return expandExpectedMatrix(matrix, [...byName.keys()].sort()).map(({ from, to, port, verdict }) => {
    const [source, destination] = [byName.get(from), byName.get(to)];
    assert(source !== undefined && destination !== undefined, "expanded from these names");
    const connection: Cell = {
      from: { kind: "pod", pod: source },
      to: { kind: "pod", pod: destination },
      ...port,
      family: matrix.family ?? destination.ips[0]?.family ?? 4,
    };
    return { from, to, connection, verdict };
  });
}
