/** A Windows node for tests: two pods' endpoints, a clock, and packets through one hook. */
import { formatIp } from "../../../src/addr/index.ts";
import { createPrng } from "../../../src/base/index.ts";
import { type HnsDatapath, type HnsTables, linkHns } from "../../../src/filter/hns/index.ts";
import { createHookResults, type FilterObserver, Hook, type LinkContext } from "../../../src/filter/index.ts";
import { append, createBatch, decodeRow, rowBytes } from "../../../src/packet/index.ts";
import { ip } from "../node.ts";

const uplink = 2;
const ports: Readonly<Record<string, number>> = { "10.0.0.1": 3, "fd00::1": 3, "10.0.0.3": 4 };

export class HnsTestNode {
  readonly clock = { ns: 0 };
  readonly datapath: HnsDatapath;
  readonly #batch = createBatch(1, 2048);
  readonly #out = createHookResults(1);

  constructor(tables: HnsTables) {
    this.datapath = linkHns(tables, this.#context());
  }

  #context(): LinkContext {
    const pod = (index: number) => ({ index, name: `veth${index}`, isLoopback: false, addresses: [] });
    return {
      facts: {
        name: "win-1",
        generation: 0,
        interfaces: [
          { index: uplink, name: "eth0", isLoopback: false, addresses: [{ ...ip("192.0.2.1"), prefix: 24 }] },
          pod(3),
          pod(4),
        ],
        localAddresses: [ip("192.0.2.1")],
        routeTo: (address) => ports[formatIp(address)] ?? uplink,
      },
      nowNs: () => this.clock.ns,
      random: createPrng(1),
    };
  }

  /** The verdict and the deciding rule, -1 where none was. */
  pass(
    packet: Uint8Array,
    hook: typeof Hook.endpointIn | typeof Hook.endpointOut,
    endpoint: 1 | 2 | "host" | "uplink",
    observer?: FilterObserver,
  ): { readonly verdict: number; readonly rule: number; readonly bytes: Uint8Array } {
    const [batch, out] = [this.#batch, this.#out];
    batch.length = 0;
    batch.used = 0;
    append(batch, packet);
    decodeRow(batch, 0);
    const index = endpoint === "host" ? 0 : endpoint === "uplink" ? uplink : endpoint + 2;
    batch.state.iif[0] = hook === Hook.endpointOut ? index : uplink;
    batch.state.oif[0] = hook === Hook.endpointOut ? uplink : index;
    this.datapath.run(hook, batch, 0, 1, out, observer);
    const bytes = rowBytes(batch, 0).slice();
    return { verdict: out.verdict[0] ?? -1, rule: out.rule[0] ?? -1, bytes };
  }

  /** Why a rule did not match the last packet. */
  why(rule: number, failed: number): string {
    return this.datapath.explainMiss(rule, failed, this.#batch, 0);
  }
}
