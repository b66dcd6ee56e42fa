/**
 * Sends packets from within a network namespace, started there as `node sender.mjs INTERFACE`: one line of hexadecimal
 * digits in, one line out when the kernel has taken the packet (`ok`, or what went wrong). Packets go out as they are,
 * IP header included, by the named interface alone (raw(7): IP_HDRINCL, SO_BINDTODEVICE).
 */
import raw from "raw-socket";

const SOL_SOCKET = 1;
const SO_BINDTODEVICE = 25;
const IPPROTO_IP = 0;
const IP_HDRINCL = 3;
const IPPROTO_RAW = 255;

const [name = ""] = process.argv.slice(2);
/** Sockets must stay referenced: the collector closes those that are not, without a word. */
const sockets = new Map();

function socketFor(version) {
  const known = sockets.get(version);
  if (known !== undefined) return known;
  const isV4 = version === 4;
  const socket = raw.createSocket({
    protocol: IPPROTO_RAW,
    addressFamily: isV4 ? raw.AddressFamily.IPv4 : raw.AddressFamily.IPv6,
  });
  const device = Buffer.from(`${name}\0`);
  socket.setOption(SOL_SOCKET, SO_BINDTODEVICE, device, device.length);
  if (isV4) socket.setOption(IPPROTO_IP, IP_HDRINCL, 1);
  socket.on("error", (error) => process.stdout.write(`${error.message}\n`));
  sockets.set(version, socket);
  return socket;
}

function destination(packet, version) {
  if (version === 4) return [...packet.subarray(16, 20)].join(".");
  const words = Array.from({ length: 8 }, (_, i) => packet.readUInt16BE(24 + 2 * i).toString(16));
  return words.join(":");
}

function send(line) {
  const packet = Buffer.from(line, "hex");
  const version = packet.length > 0 ? packet[0] >>> 4 : 0;
  if (version !== 4 && version !== 6) throw new Error("neither IPv4 nor IPv6");
  socketFor(version).send(packet, 0, packet.length, destination(packet, version), (error) => {
    process.stdout.write(`${error ? error.message : "ok"}\n`);
  });
}

let rest = "";
process.stdin.setEncoding("utf8");
process.stdin.on("data", (text) => {
  const lines = (rest + text).split("\n");
  rest = lines.pop() ?? "";
  for (const line of lines)
    try {
      send(line);
    } catch (error) {
      process.stdout.write(`${error instanceof Error ? error.message : String(error)}\n`);
    }
});
process.stdin.on("end", () => {
  for (const socket of sockets.values()) socket.close();
});
