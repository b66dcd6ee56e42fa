/** Random HNS tables of a small, colliding world: see ../arbitraries.ts. */
import fc from "fast-check";
import type {
  AclAddress,
  AclConditions,
  AclPolicy,
  HnsLoadBalancer,
  HnsTables,
  SetPolicy,
  TierAcl,
} from "../../../src/filter/hns/index.ts";
import { addresses, net, ports } from "../arbitraries.ts";
import { ip } from "../node.ts";

export const setIds = ["set-a", "set-b", "nested-a", "nested-b"] as const;

const cidr = fc.oneof({ weight: 4, arbitrary: net(4) }, { weight: 1, arbitrary: net(6) });
const address: fc.Arbitrary<AclAddress> = fc.oneof(
  cidr.map((one): AclAddress => ({ kind: "net", net: one })),
  fc.constantFrom(...setIds).map((id): AclAddress => ({ kind: "set", id })),
);
const portRange = fc
  .tuple(fc.constantFrom(...ports), fc.constantFrom(...ports))
  .map(([a, b]) => ({ first: Math.min(a, b), last: Math.max(a, b) }));
const few = <T>(arbitrary: fc.Arbitrary<T>) =>
  fc.oneof(
    { weight: 2, arbitrary: fc.constant([] as T[]) },
    { weight: 1, arbitrary: fc.array(arbitrary, { maxLength: 2 }) },
  );

const conditions: fc.Arbitrary<AclConditions> = fc.record({
  protocols: few(fc.constantFrom(6, 17, 1)),
  localAddresses: few(address),
  remoteAddresses: few(address),
  localPorts: few(portRange),
  remotePorts: few(portRange),
});
const action = fc.constantFrom("Allow" as const, "Block" as const, "Pass" as const);
const direction = fc.constantFrom("In" as const, "Out" as const);
const priority = fc.constantFrom(0, 200, 201, 222, 3000, 65_499, 65_535);
const id = fc.option(fc.constantFrom("azure-acl-x-a", "azure-acl-x-b"), { nil: undefined });

export const acl: fc.Arbitrary<AclPolicy> = fc
  .tuple(conditions, fc.record({ id, action, direction, priority }), fc.nat(4))
  .map(([own, rest, roll]) => ({ ...own, ...rest, ruleType: roll === 0 ? "Host" : "Switch" }));

const tier: fc.Arbitrary<TierAcl> = fc.record({
  name: fc.constantFrom("first", "second"),
  direction,
  order: fc.nat(3),
  rules: fc.array(
    fc.tuple(conditions, fc.record({ id, action, priority })).map(([own, rest]) => ({ ...own, ...rest })),
    { maxLength: 3 },
  ),
});

const sets: fc.Arbitrary<readonly SetPolicy[]> = fc
  .record({
    a: fc.array(cidr, { maxLength: 3 }),
    b: fc.array(cidr, { maxLength: 3 }),
    nestedA: fc.subarray(["set-a", "set-b"]),
    nestedB: fc.subarray(["set-a", "set-b", "nested-a"]),
  })
  .map(({ a, b, nestedA, nestedB }) => [
    { type: "IPSET", id: "set-a", name: "podlabel-a", values: a },
    { type: "IPSET", id: "set-b", name: "podlabel-b", values: b },
    { type: "NESTEDIPSET", id: "nested-a", name: "nslabel-a", values: nestedA },
    { type: "NESTEDIPSET", id: "nested-b", name: "nslabel-b", values: nestedB },
  ]);

/** In front of any of the endpoints of `tables`. */
export const balancer: fc.Arbitrary<HnsLoadBalancer> = fc.record({
  id: fc.uuid(),
  endpoints: fc.subarray(["endpoint-1", "endpoint-2", "endpoint-3"]),
  sourceVip: fc.option(fc.constantFrom(ip("10.9.0.1"), ip("fd09::1")), { nil: undefined }),
  frontendVips: fc.subarray([ip("10.96.0.1"), ip("203.0.113.1"), ip("fd96::1")]),
  portMappings: fc.array(
    fc.record({
      protocol: fc.constantFrom(6, 17, 132),
      internalPort: fc.constantFrom(...ports.filter((port) => port > 0)),
      externalPort: fc.constantFrom(80, 30_080),
      distribution: fc.constantFrom("None" as const, "SourceIPProtocol" as const, "SourceIP" as const),
      flags: fc.nat(31),
    }),
    { minLength: 1, maxLength: 2 },
  ),
  flags: fc.nat(3),
});

/** Endpoint `one` at 10.0.0.1 and fd00::1, `two` at 10.0.0.3, and one of another node. */
export const tables = (aclsMax = 6): fc.Arbitrary<HnsTables> =>
  fc
    .record({
      sets,
      one: fc.array(acl, { maxLength: aclsMax }),
      two: fc.array(acl, { maxLength: aclsMax }),
      tiers: few(tier),
      network: few(acl),
      loadBalancers: fc.uniqueArray(balancer, { maxLength: 2, selector: ({ id }) => id }),
    })
    .map(({ sets: own, one, two, tiers, network, loadBalancers }) => ({
      networks: [
        { id: "net-1", name: "azure", type: "L2Bridge", sets: own, acls: network, otherPolicies: [] },
      ],
      endpoints: [
        {
          id: "endpoint-1",
          name: "one",
          network: "net-1",
          isRemote: false,
          addresses: [ip("10.0.0.1"), ip("fd00::1")],
          mac: "00-15-5D-00-00-01",
          acls: one,
          tiers,
          otherPolicies: [{ Type: "OutBoundNAT", Settings: { Exceptions: ["10.0.0.0/8"] } }],
        },
        {
          id: "endpoint-2",
          name: "two",
          network: "net-1",
          isRemote: false,
          addresses: [ip("10.0.0.3")],
          mac: undefined,
          acls: two,
          tiers: [],
          otherPolicies: [],
        },
        {
          id: "endpoint-3",
          name: "remote",
          network: "net-1",
          isRemote: true,
          addresses: [ip("10.0.1.0")],
          mac: undefined,
          acls: [],
          tiers: [],
          otherPolicies: [],
        },
      ],
      loadBalancers,
      flowsOnChange: "keep",
    }));

export const otherAddresses: readonly string[] = addresses[4];
