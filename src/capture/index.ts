export { pcapngHeader, pcapngPacket, type ReadCapture, readPcapng } from "./pcapng.ts";
export { type CaptureInterface, type CaptureRecord, LinkType } from "./record.ts";
