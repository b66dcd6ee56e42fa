import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { InputError } from "../../../src/base/index.ts";
import { Hook, Verdict } from "../../../src/filter/index.ts";
import {
  type IpsetRepr,
  parseIpsetCommands,
  restoreIpsets,
  SetCollection,
  saveIpsets,
} from "../../../src/filter/ipset/index.ts";
import { restoreRuleset } from "../../../src/filter/iptables/index.ts";
import { icmpEcho, ipPacket, tcp } from "../../../src/packet/index.ts";
import { TcpFlag } from "../../../src/wire/index.ts";
import { sets } from "../arbitraries.ts";
import { TestNode } from "../node.ts";

function one(text: string): IpsetRepr {
  const [set] = [...restoreIpsets(text, "t").values()];
  if (set === undefined) throw new Error("the text holds no set");
  return set;
}

/** A node whose FORWARD accepts what set `name` matches and drops the rest. */
function nodeMatching(text: string, name: string, flags: string): TestNode {
  const rules = `*filter\n:FORWARD DROP [0:0]\n-A FORWARD -m set --match-set ${name} ${flags} -j ACCEPT\nCOMMIT\n`;
  return new TestNode({ v4: restoreRuleset(rules, "t"), sets: restoreIpsets(text, "t") });
}

const syn = (src: string, dst = "198.51.100.1", dport = 80): Uint8Array =>
  tcp({ src, dst, sport: 1000, dport, flags: TcpFlag.syn });

const holds = (node: TestNode, packet: Uint8Array): boolean =>
  node.pass(packet, [Hook.forward]).verdict === Verdict.accept;

/** Applies restore text line by line to `collection`; answers errno and message of the first refusal. */
function applyText(
  collection: SetCollection,
  text: string,
  inUse: (name: string) => boolean = () => false,
): string {
  const known = new Map([...collection.values()].map((set) => [set.name, set]));
  for (const { command } of parseIpsetCommands(text, "t", known)) {
    const result = collection.apply(command, inUse);
    if (!result.ok) return `${result.errno}: ${result.message}`;
  }
  return "ok";
}

describe("matching of sets", () => {
  it("lets the most specific prefix of a hash:net decide, nomatch or not", () => {
    const text = "create n hash:net\nadd n 10.0.0.0/8\nadd n 10.1.0.0/16 nomatch\nadd n 10.1.2.0/24\n";
    const node = nodeMatching(text, "n", "src");
    expect(holds(node, syn("10.1.2.3"))).toBe(true);
    expect(holds(node, syn("10.1.0.1"))).toBe(false);
    expect(holds(node, syn("10.2.0.1"))).toBe(true);
    expect(holds(node, syn("11.0.0.1"))).toBe(false);
  });

  it("asks every member of a list:set: a nomatch in one does not hide a match in another", () => {
    const text =
      "create a hash:net\nadd a 10.0.0.0/8\nadd a 10.1.0.0/16 nomatch\ncreate b hash:net\nadd b 10.1.2.0/24\n" +
      "create l list:set\nadd l a\nadd l b\n";
    const node = nodeMatching(text, "l", "src");
    expect(holds(node, syn("10.1.2.3"))).toBe(true);
    expect(holds(node, syn("10.1.3.3"))).toBe(false);
  });

  it("matches address and port of the sides that the rule names", () => {
    const text = "create p hash:ip,port\nadd p 10.0.0.1,tcp:80\nadd p 10.0.0.2,tcp:1000\n";
    expect(holds(nodeMatching(text, "p", "dst,dst"), syn("10.9.9.9", "10.0.0.1", 80))).toBe(true);
    expect(holds(nodeMatching(text, "p", "dst,dst"), syn("10.9.9.9", "10.0.0.1", 81))).toBe(false);
    expect(holds(nodeMatching(text, "p", "src,src"), syn("10.0.0.2", "10.9.9.9", 80))).toBe(true);
    expect(holds(nodeMatching(text, "p", "src,dst"), syn("10.0.0.1", "10.9.9.9", 80))).toBe(true);
  });

  it("never matches an address-and-port set that is asked with one dimension", () => {
    const text = "create p hash:ip,port\nadd p 10.0.0.1,tcp:80\n";
    expect(holds(nodeMatching(text, "p", "dst"), syn("10.9.9.9", "10.0.0.1", 80))).toBe(false);
  });

  it("takes ICMP's type and code for the port, and zero for protocols without ports", () => {
    const text = "create p hash:ip,port\nadd p 10.0.0.1,icmp:echo-request\nadd p 10.0.0.1,gre:0\n";
    const [src, dst] = ["10.9.9.9", "10.0.0.1"];
    const node = nodeMatching(text, "p", "dst,src");
    expect(holds(node, icmpEcho({ src, dst, identifier: 1, sequence: 1 }))).toBe(true);
    expect(holds(node, icmpEcho({ src, dst, identifier: 1, sequence: 1, reply: true }))).toBe(false);
    expect(holds(node, ipPacket({ src, dst, protocol: 47, payload: new Uint8Array(8) }))).toBe(true);
  });
});

describe("operations on sets", () => {
  const fresh = (text = ""): SetCollection => new SetCollection(restoreIpsets(text, "t").values());

  it.each([
    [
      "create a hash:ip\ncreate a hash:net",
      "EEXIST: Set cannot be created: set with the same name already exists",
    ],
    ["create a hash:ip\ncreate a hash:ip -exist", "ok"],
    [
      "create a hash:ip\ncreate a hash:net -exist",
      "EEXIST: Set cannot be created: set with the same name already exists",
    ],
    [
      "create a hash:ip\nadd a 10.0.0.1\nadd a 10.0.0.1",
      "EEXIST: Element cannot be added to the set: it's already added",
    ],
    ["create a hash:ip\nadd a 10.0.0.1\nadd a 10.0.0.1 -exist", "ok"],
    ["create a hash:ip\ndel a 10.0.0.1", "ENOENT: Element cannot be deleted from the set: it's not added"],
    [
      "create a hash:ip maxelem 1\nadd a 10.0.0.1\nadd a 10.0.0.2",
      "IPSET_ERR_HASH_FULL: Hash is full, cannot add more elements",
    ],
    [
      "create a hash:net\nadd a 0.0.0.0/0",
      "IPSET_ERR_INVALID_CIDR: The value of the CIDR parameter of the IP address is invalid",
    ],
    [
      "create l list:set\nadd l gone",
      "IPSET_ERR_NAME: Set to be added/deleted/tested as element does not exist.",
    ],
    [
      "create k list:set\ncreate l list:set\nadd l k",
      "IPSET_ERR_LOOP: Sets with list:set type cannot be added to the set.",
    ],
    [
      "create a hash:ip\ncreate l list:set\nadd l a\ndestroy a",
      "IPSET_ERR_BUSY: Set cannot be destroyed: it is in use by a kernel component",
    ],
    [
      "create a hash:ip\ncreate b hash:net\nswap a b",
      "IPSET_ERR_TYPE_MISMATCH: The sets cannot be swapped: their type does not match",
    ],
    [
      "create a hash:ip\ncreate b hash:ip\nrename a b",
      "EEXIST: Set cannot be renamed: a set with the new name already exists",
    ],
    ["flush gone", "ENOENT: The set with the given name does not exist"],
  ])("answer as the kernel: %j", (text, answer) => {
    expect(applyText(fresh(), text)).toBe(answer);
  });

  it("refuse to destroy a set that a rule names", () => {
    const collection = fresh("create a hash:ip\n");
    expect(applyText(collection, "destroy a", (name) => name === "a")).toMatch(/^IPSET_ERR_BUSY/);
    expect(applyText(collection, "destroy a")).toBe("ok");
  });

  it("swap contents, not names, and lists follow the name", () => {
    const collection = fresh("create a hash:ip\nadd a 10.0.0.1\ncreate b hash:ip\nadd b 10.0.0.2\n");
    expect(applyText(collection, "swap a b")).toBe("ok");
    expect(saveIpsets(collection.toReprs().values())).toBe(
      "create a hash:ip family inet hashsize 1024 maxelem 65536\nadd a 10.0.0.2\n" +
        "create b hash:ip family inet hashsize 1024 maxelem 65536\nadd b 10.0.0.1\n",
    );
  });

  it("on one node leave the shared data of the others alone", () => {
    const text = "create a hash:ip\nadd a 10.0.0.1\ncreate l list:set\nadd l a\n";
    const shared = [...restoreIpsets(text, "t").values()];
    const [left, right] = [new SetCollection(shared), new SetCollection(shared)];
    expect(left.get("a")).toBe(right.get("a"));
    expect(applyText(left, "add a 10.0.0.2\nflush l")).toBe("ok");
    expect(left.get("a")?.size).toBe(2);
    expect(right.get("a")?.size).toBe(1);
    expect(right.get("l")?.size).toBe(1);
    expect(saveIpsets(right.toReprs().values())).toBe(saveIpsets(shared));
  });

  it("are seen by rules at once: an added address matches, a deleted one no longer", () => {
    const node = nodeMatching("create a hash:ip\n", "a", "src");
    const change = (op: "add" | "del"): void => {
      const [line] = parseIpsetCommands(`${op} a 10.0.0.1`, "t", new Map([["a", one("create a hash:ip\n")]]));
      const result = node.datapath.apply({ kind: "ipset-restore", commands: [line?.command] } as never);
      expect(result).toEqual({ ok: true });
    };
    expect(holds(node, syn("10.0.0.1"))).toBe(false);
    change("add");
    expect(holds(node, syn("10.0.0.1"))).toBe(true);
    change("del");
    expect(holds(node, syn("10.0.0.1"))).toBe(false);
  });
});

describe("ipset save text", () => {
  it.each([4, 6] as const)("restores to the very sets it was saved from (IPv%i)", (family) => {
    fc.assert(
      fc.property(sets(family), (all) => {
        expect(restoreIpsets(saveIpsets(all.values()), "t")).toEqual(all);
      }),
    );
  });

  it("puts lists last, whatever their place, so that the text can be restored", () => {
    const text = "create a hash:ip family inet hashsize 64 maxelem 10\ncreate l list:set size 8\nadd l a\n";
    const all = restoreIpsets(text, "t");
    expect(saveIpsets([...all.values()].reverse())).toBe(text);
  });

  it("reads what ipset 7 prints and no verdict depends on", () => {
    const set = one(
      "create a hash:net family inet6 hashsize 1024 maxelem 65536 bucketsize 12 initval 0xe63bef22\nadd a fd00::/64\n",
    );
    expect(set).toMatchObject({ name: "a", type: "hash:net", family: 6, maxelem: 65536 });
  });

  it.each([
    ["create a hash:mac", "t:1:10: set type is not supported: hash:mac"],
    ["create a hash:net netmask 24", "t:1:19: option netmask of hash:net is not supported"],
    ["create a bitmap:ip range 10.0.0.9-10.0.0.1", "t:1:26: not a range of bitmap:ip: 10.0.0.9-10.0.0.1"],
    ["create a hash:ip\nadd a 10.0.0.1 comment x", "t:2:16: option comment of an element of hash:ip"],
    ["create a hash:ip\nadd a 10.0.0.1 timeout 5", "t:2:16: option timeout of an element of hash:ip"],
    ["create a hash:ip\nadd a 10.0.0.1 nomatch", "t:2:16: option nomatch of an element of hash:ip"],
    ["create a hash:ip\nadd a 10.0.0.0/8", "t:2:7: the range holds more than 1048576 addresses: 10.0.0.0/8"],
    ["create a hash:ip family inet6\nadd a fd00::/64", "t:2:7: one IPv6 address, not a range: fd00::/64"],
    ["create a hash:ip\nadd a fd00::1", "t:2:7: not an IPv4 address: fd00::1"],
    ["create a hash:ip,port\nadd a 10.0.0.1,tcp:x", "t:2:7: not a port or range of ports: x"],
    ["create a hash:ip,port\nadd a 10.0.0.1", "t:2:7: an element of hash:ip,port has 2 parts: 10.0.0.1"],
    [
      "create a hash:net,iface\nadd a 10.0.0.0/8,physdev:e",
      "t:2:7: bridge ports are not supported: physdev:e",
    ],
    ["create a bitmap:port range 5-9\nadd a 10", "t:2:1: a: Element is out of the range of the set"],
    ["create a hash:net\nadd a 0.0.0.0/0", "t:2:1: a: The value of the CIDR parameter"],
    ["add a 10.0.0.1", "t:1:5: the set a does not exist"],
    ["list a", "t:1:1: command is not supported: list"],
    [`create ${"x".repeat(32)} hash:ip`, `t:1:8: a set name has 1 to 31 characters: ${"x".repeat(32)}`],
    [
      "create a hash:ip\nadd a 10.0.0.1\nadd a 10.0.0.1",
      "t:3:1: a: Element cannot be added to the set: it's already added",
    ],
  ])("refuses %j with its place", (text, message) => {
    expect(() => restoreIpsets(text, "t")).toThrow(InputError);
    expect(() => restoreIpsets(text, "t")).toThrow(message);
  });

  const saved = (...lines: string[]): readonly string[] =>
    saveIpsets(restoreIpsets(lines.join("\n"), "t").values())
      .trimEnd()
      .split("\n")
      .slice(1)
      .map((line) => line.replace(/^add a /, ""));

  it.each([
    ["hash:ip", "10.0.0.1-10.0.0.3", ["10.0.0.1", "10.0.0.2", "10.0.0.3"]],
    ["hash:ip", "10.0.0.0/31", ["10.0.0.0", "10.0.0.1"]],
    ["hash:ip netmask 24", "10.0.0.5-10.0.2.9", ["10.0.0.0", "10.0.1.0", "10.0.2.0"]],
    ["hash:net", "192.168.0.0-192.168.1.5", ["192.168.0.0/24", "192.168.1.0/30", "192.168.1.4/31"]],
    ["hash:ip,port", "10.0.0.1,tcp:80-82", ["10.0.0.1,tcp:80", "10.0.0.1,tcp:81", "10.0.0.1,tcp:82"]],
    ["hash:ip,port", "10.0.0.1,53", ["10.0.0.1,tcp:53"]],
    ["hash:ip,port", "10.0.0.1,icmp:3/1", ["10.0.0.1,icmp:host-unreachable"]],
    ["hash:ip,port", "10.0.0.1,47:0", ["10.0.0.1,gre:0"]],
    ["hash:ip,port,ip", "10.0.0.1,80,10.0.0.2", ["10.0.0.1,tcp:80,10.0.0.2"]],
    ["hash:ip,port,net", "10.0.0.1,udp:53,10.0.0.0/8", ["10.0.0.1,udp:53,10.0.0.0/8"]],
    ["hash:net,iface", "10.0.0.0/8,eth0", ["10.0.0.0/8,eth0"]],
    ["hash:net,net", "10.0.0.0/8,11.0.0.0/8", ["10.0.0.0/8,11.0.0.0/8"]],
    ["hash:ip,mark", "10.0.0.1,5", ["10.0.0.1,0x00000005"]],
    ["bitmap:port range 100-200", "150-151", ["150", "151"]],
    ["bitmap:ip range 10.0.0.0/24", "10.0.0.128/31", ["10.0.0.128", "10.0.0.129"]],
  ])("expands an element of %s as the tool does: %s", (type, element, members) => {
    expect(saved(`create a ${type}`, `add a ${element}`)).toEqual(members);
  });

  it("keeps what members carry, in the order of the tool", () => {
    expect(
      saved(
        "create a hash:net timeout 100 counters comment skbinfo",
        'add a 10.0.0.0/8 skbqueue 7 skbprio 1:2 skbmark 0x11/0xff comment "a b" bytes 44 packets 3 timeout 55',
        "add a 10.1.0.0/16 nomatch timeout 0",
        "add a 10.2.0.0/16",
      ),
    ).toEqual([
      '10.0.0.0/8 timeout 55 packets 3 bytes 44 comment "a b" skbmark 0x11/0xff skbprio 1:2 skbqueue 7',
      "10.1.0.0/16 timeout 0 nomatch packets 0 bytes 0",
      "10.2.0.0/16 timeout 100 packets 0 bytes 0",
    ]);
  });

  it("reads the old and short forms that agents write", () => {
    const text = "-N a --exist nethash\n-A a 10.0.0.0/8\n-! add a 10.0.0.0/8\n-D a 10.0.0.0/8\n-X a\n";
    expect(restoreIpsets(text, "t").size).toBe(0);
  });
});
