export { cookedInterface, FrameContent, networkOffset } from "./link-layer.ts";
export { pcapHeader, pcapPacket } from "./pcap.ts";
export { PcapParserReader } from "./pcap-parser.ts";
export { readComments, readOptions } from "./pcapng.ts";
export { pcapngHeader, pcapngInterface, pcapngPacket } from "./pcapng-write.ts";
export {
  chooseCaptureReader,
  createCaptureReader,
  pcapParserBytesMax,
  type ReadCapture,
  readCapture,
  recordingSink,
} from "./read.ts";
export {
  type CapturedPacket,
  type CaptureInterface,
  type CaptureOption,
  type CaptureReader,
  type CaptureRecord,
  type CaptureSink,
  type CaptureTime,
  captureTime,
  LinkType,
} from "./record.ts";
