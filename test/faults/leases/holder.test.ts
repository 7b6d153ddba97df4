import { connect, createServer, type AddressInfo } from 'node:net'
import { expect, it } from 'vitest'
import { until } from './engines.ts'
import { holder } from './holder.ts'

it('sends on only the request that it held, also after one whose answer it held', async () => {
  const heard: string[] = []
  const asked = createServer((socket) =>
    socket.on('data', (bytes) => {
      heard.push(bytes.toString())
      socket.write(`heard ${bytes.toString()}`)
    }),
  )
  await new Promise<void>((done) => asked.listen(0, '127.0.0.1', done))
  const between = await holder(0, (asked.address() as AddressInfo).port)
  const client = connect(Number(between.at), '127.0.0.1')
  const answers: string[] = []
  client.on('data', (bytes) => answers.push(bytes.toString()))

  async function ask(words: string, when: 'before' | 'after'): Promise<void> {
    const before = answers.length
    between.arm(words, when)
    client.write(words)
    await until(
      () => `${words} is held`,
      () => between.held() === 1,
    )
    between.release()
    await until(
      () => `${words} is answered`,
      () => answers.length > before,
    )
  }
  await ask('first', 'after')
  await ask('second', 'before')
  expect(heard).toEqual(['first', 'second'])

  client.destroy()
  await between.close()
  await new Promise((done) => asked.close(done))
})
