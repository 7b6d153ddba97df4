// Loaded into a process (node --import) that will be killed: what node has compiled is kept for its next start (NODE_COMPILE_CACHE),
// which it otherwise does only for a process that ends by itself.
import { flushCompileCache } from 'node:module'

for (const afterMs of [1_000, 5_000, 30_000]) setTimeout(flushCompileCache, afterMs).unref()
