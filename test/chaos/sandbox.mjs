// One function in a process of its own, as Lambda runs it: one event after the other, each answered over the channel.
const { handler } = await import(process.argv[2])

process.on('message', async ({ event, timeoutMs }) => {
  const endAtMs = performance.now() + timeoutMs
  try {
    process.send(await handler(event, { getRemainingTimeInMillis: () => Math.round(endAtMs - performance.now()) }))
  } catch (error) {
    process.send({ errorMessage: String(error) })
  }
})
// die-with-parent.mjs lets a process end that has nothing else to do
process.channel.ref()
process.send('ready')
