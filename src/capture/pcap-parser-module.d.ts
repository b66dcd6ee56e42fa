/** The part of the `pcap-parser` package that is used: it ships no types of its own. */
declare module "pcap-parser" {
  import type { EventEmitter } from "node:events";

  interface PcapPacketHeader {
    readonly timestampSeconds: number;
    readonly timestampMicroseconds: number;
    readonly capturedLength: number;
    readonly originalLength: number;
  }

  interface PcapParser {
    on(event: "packetHeader", listener: (header: PcapPacketHeader) => void): this;
    on(
      event: "packet",
      listener: (packet: { readonly header: PcapPacketHeader; readonly data: Uint8Array }) => void,
    ): this;
    on(event: "error", listener: (error: Error) => void): this;
  }

  const pcapParser: {
    parse(stream: EventEmitter & { pause(): void; resume(): void }): PcapParser;
  };
  export default pcapParser;
}
