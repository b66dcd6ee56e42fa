/**
 * Lives of connection entries in seconds: the sysctls net.netfilter.nf_conntrack_*_timeout_* and their defaults (kernel
 * Documentation/networking/nf_conntrack-sysctl.rst and the protocol files of net/netfilter).
 */

export interface CtTimeouts {
  /** By `TcpState`: none, SYN_SENT .. CLOSE, SYN_SENT2. */
  readonly tcp: readonly number[];
  /** nf_conntrack_tcp_timeout_max_retrans */
  readonly tcpRetransmission: number;
  readonly tcpUnacknowledged: number;
  readonly udp: number;
  /** After replies for more than two seconds. */
  readonly udpStream: number;
  readonly gre: number;
  readonly greStream: number;
  readonly icmp: number;
  readonly icmpv6: number;
  readonly generic: number;
  /** By `SctpState`: none, CLOSED .. HEARTBEAT_SENT. */
  readonly sctp: readonly number[];
  /** nf_conntrack_frag6_timeout and ipfrag_time: how long the fragments of one datagram are kept. */
  readonly fragmentsV4: number;
  readonly fragmentsV6: number;
}

export const timeoutDefaults: CtTimeouts = {
  tcp: [0, 120, 60, 432_000, 120, 60, 30, 120, 10, 120],
  tcpRetransmission: 300,
  tcpUnacknowledged: 300,
  udp: 30,
  udpStream: 120,
  gre: 30,
  greStream: 180,
  icmp: 30,
  icmpv6: 30,
  generic: 600,
  sctp: [10, 10, 3, 3, 210, 3, 3, 3, 30],
  fragmentsV4: 30,
  fragmentsV6: 60,
};
