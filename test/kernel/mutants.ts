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
const binding = "filter/iptables/node-binding.js";
const rate = "filter/iptables/matches/rate.js";
const recent = "filter/iptables/matches/recent.js";
const connection = "filter/iptables/matches/connection.js";
const header = "filter/iptables/matches/packet-header.js";

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
  mutant(
    "limit lets one packet more through",
    rate,
    "match.burst, limitScale",
    "match.burst + 1, limitScale",
  ),
  mutant(
    "hashlimit counts both ports as one",
    rate,
    'key === "srcport" ? Math.floor(ports / 0x10000) : ports & 0xffff',
    "ports & 0xffff",
  ),
  mutant(
    "hashlimit counts every address for itself, whatever the mask",
    rate,
    "address(batch.dst, match.dstMask)",
    "address(batch.dst, undefined)",
  ),
  mutant("a quota is never used up", rate, "fits ? left.bytes - size : 0", "left.bytes"),
  mutant("recent asks for one hit more", recent, "++hits >= match.hitCount", "++hits > match.hitCount"),
  mutant(
    "recent --update does not remember",
    recent,
    'action === "update" && holds',
    'action === "update" && !holds',
  ),
  mutant("recent --rttl is ignored", recent, "match.ttl && entry.ttl !== ttl", "false && entry.ttl !== ttl"),
  mutant(
    "statistic begins its round one packet late",
    "filter/iptables/matches/statistic.js",
    "every - 1 - match.packet",
    "every - 2 - match.packet",
  ),
  mutant("u32 forgets its mask", header, "value = (value & number) >>> 0", "value = value >>> 0"),
  mutant("u32 reads from the packet's start after a jump", header, "base += value", "base += 0"),
  mutant(
    "a range of addresses ends one early",
    "filter/iptables/matches/address.js",
    "compare(test.to.words) <= 0",
    "compare(test.to.words) < 0",
  ),
  mutant(
    "tcpmss takes its lower end for the only one",
    "filter/iptables/matches/ports.js",
    "mss <= max",
    "mss <= min",
  ),
  mutant(
    "connbytes counts replies for the original direction",
    connection,
    'direction === "original" ? original : reply',
    'direction === "original" ? reply : original',
  ),
  mutant(
    "the original destination is that of replies",
    connection,
    "address(match.origDst, 0, tupleDst)",
    "address(match.origDst, 1, tupleDst)",
  ),
  mutant(
    "CONNMARK saves over the whole mark",
    binding,
    "(entry.mark & ~target.ctMask) ^ (mark[row] & target.nfMask)",
    "(mark[row] & target.nfMask)",
  ),
  mutant("CONNMARK restores all bits", binding, "(entry.mark & target.ctMask)", "entry.mark"),
  mutant(
    "a zone counts in the other direction",
    binding,
    'direction === "orig" ? ZoneReach.original : ZoneReach.reply',
    'direction === "orig" ? ZoneReach.reply : ZoneReach.original',
  ),
  mutant("a second target CT sets the zone again", binding, "|| ctEntry[row] !== 0)", "|| false)"),
  mutant(
    "members that rules add live as long as the set says",
    "filter/ipset/collection.js",
    "options.timeout === undefined ? {} : { timeout: options.timeout }",
    "{}",
  ),
  mutant(
    "--map-mark writes over the whole mark",
    binding,
    "(batch.state.mark[row] & ~mask) ^ value",
    "value",
  ),
  mutant(
    "NETMAP keeps no bits of the address",
    "filter/iptables/nat-target.js",
    "(word | (own[i] & ~maskWord(prefix, i))) >>> 0",
    "word",
  ),
  mutant("a segment size is raised", "packet/tcp-mss.js", "if (before <= mss)", "if (before === mss)"),
  mutant(
    "DSCP takes the congestion bits with it",
    binding,
    "(tosOf(batch, row) & 3) | (target.value << 2)",
    "target.value << 2",
  ),
];
