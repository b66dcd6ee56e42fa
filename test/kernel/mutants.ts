/**
 * Faults that an emulator of netfilter might well have, each as a change of one line of the built package. The search
 * must find every one: what it lets live, it could not have seen in ours either.
 */

export interface Mutant {
  readonly name: string;
  /** Below the built package. */
  readonly file: string;
  /** Every occurrence is replaced; there must be one. */
  readonly from: string;
  readonly to: string;
}

const evaluate = "filter/iptables/evaluate.js";
const reject = "filter/iptables/reject.js";
const sets = "filter/ipset/live.js";
const conntrack = "filter/netfilter/conntrack.js";
const nat = "filter/netfilter/nat.js";
const natPacket = "filter/netfilter/nat-packet.js";

const mutant = (name: string, file: string, from: string, to: string): Mutant => ({ name, file, from, to });

export const mutants: readonly Mutant[] = [
  mutant(
    "RETURN accepts",
    evaluate,
    "case TargetOp.return:",
    "case TargetOp.return: out.verdict = RuleVerdict.accept; out.rule = rule; return;",
  ),
  mutant(
    "goto is a jump",
    evaluate,
    "case TargetOp.goto:",
    "case TargetOp.goto: returnStack[depth] = next; chainStack[depth] = current; depth++;",
  ),
  mutant("jump is a goto", evaluate, "returnStack[depth] = next;", "returnStack[depth] = 0;"),
  mutant(
    "MARK overwrites",
    evaluate,
    "marks[row] = (marks[row] & code[at + 1]) ^ code[at + 2]",
    "marks[row] = code[at + 2]",
  ),
  mutant(
    "MARK only adds",
    evaluate,
    "marks[row] = (marks[row] & code[at + 1]) ^ code[at + 2]",
    "marks[row] |= code[at + 2]",
  ),
  mutant(
    "MARK ors where it should exclude",
    evaluate,
    "marks[row] = (marks[row] & code[at + 1]) ^ code[at + 2]",
    "marks[row] = (marks[row] & code[at + 1]) | code[at + 2]",
  ),
  mutant("negation is dropped", evaluate, "if (holds === ((word & opNot) !== 0))", "if (!holds)"),
  mutant("a port range ends one early", evaluate, "port <= code[at + 1]", "port < code[at + 1]"),
  mutant("a port range begins one late", evaluate, "port >= code[at]", "port > code[at]"),
  mutant("multiport's ports looks at destinations alone", evaluate, "if (field & 1 &&", "if (field === 1 &&"),
  mutant(
    "a mark is compared without its mask",
    evaluate,
    "(batch.state.mark[row] & code[at + 2]) === code[at + 1]",
    "(batch.state.mark[row] | 0) === code[at + 1]",
  ),
  mutant(
    "the policy is always ACCEPT",
    evaluate,
    '=== "DROP" ? RuleVerdict.drop',
    '=== "DROP" ? RuleVerdict.accept',
  ),
  mutant("REJECT is silent", evaluate, "out.verdict = RuleVerdict.reject", "out.verdict = RuleVerdict.drop"),
  mutant(
    "tcp-flags ignores its mask",
    evaluate,
    "(flags & code[at + 1]) === code[at + 2]",
    "flags === code[at + 2]",
  ),
  mutant(
    "icmp-type ignores the code",
    evaluate,
    "(code < 0 || (value & 0xff) === code)",
    "(code < 0 || code >= 0)",
  ),
  mutant(
    "ctstate wants all of its states",
    evaluate,
    "(node.ctBits(batch, row) & code[at + 1]) !== 0",
    "(node.ctBits(batch, row) & code[at + 1]) === code[at + 1]",
  ),
  mutant("NOTRACK is forgotten", evaluate, "= CtState.untracked", "= CtState.none"),
  mutant("nomatch is ignored", sets, "return state === SlotState.match", "return state !== SlotState.empty"),
  mutant(
    "set dimensions are swapped",
    sets,
    "(dimensions & 1) !== 0 ? batch.src : batch.dst",
    "(dimensions & 1) !== 0 ? batch.dst : batch.src",
  ),
  mutant("errors are INVALID", conntrack, "ctState[row] = CtState.related", "ctState[row] = CtState.invalid"),
  mutant(
    "only replies are ESTABLISHED",
    conntrack,
    "direction === 1 || hasReply ? CtState.established",
    "direction === 1 ? CtState.established",
  ),
  mutant("replies are not remembered", conntrack, "entry.status |= CtStatus.seenReply", "entry.status |= 0"),
  mutant(
    "errors find the connection's other direction",
    conntrack,
    "((entry.id + 1) | (ref & 1 ? replyBit : 0)) >>> 0",
    "((entry.id + 1) | (ref & 1 ? 0 : replyBit)) >>> 0",
  ),
  mutant(
    "replies count as the original direction",
    conntrack,
    "((entry.id + 1) | (direction === 1 ? replyBit : 0)) >>> 0",
    "(entry.id + 1) >>> 0",
  ),
  mutant(
    "the reply tuple is not inverted",
    nat,
    "invertTuple(wanted, entry.tuples[1])",
    "entry.tuples[1].set(wanted)",
  ),
  mutant(
    "a taken port is given twice",
    nat,
    "return !conntrack.isTaken(reply, entry)",
    "return conntrack !== undefined",
  ),
  mutant(
    "replies are translated like requests",
    natPacket,
    '(manip === "src") === (direction === 0)',
    '(manip === "src")',
  ),
  mutant(
    "the packet inside an error is translated on the wrong side",
    natPacket,
    'const inner = manip === "src" ? "dst" : "src"',
    "const inner = manip",
  ),
  mutant(
    "errors are not translated",
    natPacket,
    "if (isRelatedError(batch, row))",
    "if (isRelatedError(batch, row)) return true; if (false)",
  ),
  mutant("NAT forgets the port", natPacket, "setPort(batch, row, manip, key)", "key"),
  mutant("resets have no sequence number", reject, "hasAck ? readU32(bytes, at + 8) : 0", "0"),
  mutant("resets acknowledge no SYN", reject, "(flags & TcpFlag.syn ? 1 : 0)", "0"),
  mutant("resets answer resets", reject, "if (flags & TcpFlag.rst)", "if (flags < 0)"),
  mutant(
    "host-prohibited has the wrong code",
    reject,
    "[RejectKind.hostProhibited]: 10",
    "[RejectKind.hostProhibited]: 13",
  ),
  mutant(
    "ICMP errors are answered",
    reject,
    "isUnanswerable(batch.bytes, start, packetEnd(batch, row))",
    "false",
  ),
];
