// An ES module for Node: top-level await, and an async handler.
import { createHash } from "node:crypto";
import { readFile } from "node:fs/promises";

const own = await readFile(new URL(import.meta.url));

export const handler = async (event, context) => ({
  hello: event.name ?? "you",
  code: createHash("sha256").update(own).digest("hex").slice(0, 12),
  left: context.getRemainingTimeInMillis() > 0,
});
