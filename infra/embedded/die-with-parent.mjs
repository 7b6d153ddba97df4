// Loaded into every process of the embedded stack (node --import): when the process that started the stack is gone, even by
// kill -9, the channel to it closes and nothing of the stack stays behind. Worker threads have no channel of their own.
import { isMainThread } from 'node:worker_threads'

if (isMainThread && process.channel) {
  process.on('disconnect', () => process.exit(0))
  process.channel.unref()
}
