/** The kernel as judge of random rule sets. */
import { type KernelBackend, type KernelJudge, startKernelJudge, twoDeviceNode } from "../kernel/index.ts";

/**
 * Counts connections' packets from the start, as rules about them make the kernel do from then on; packets translated
 * to 127.0.0.1 are let in, as kube-proxy has it.
 */
export function startTableJudge(backend: KernelBackend): Promise<KernelJudge> {
  return startKernelJudge({
    backend,
    node: twoDeviceNode(),
    sysctls: { "net/netfilter/nf_conntrack_acct": 1, "net/ipv4/conf/all/route_localnet": 1 },
  });
}
