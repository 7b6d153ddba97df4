import { describe, expect, it } from 'vitest'
import { placesOf } from '../../infra/embedded/places.ts'

/** Enters in this order and notes who is let in; `leave` ends whoever has been inside for longest. */
async function crowd(count: number, names: string[]) {
  const places = placesOf(count)
  const inside: string[] = []
  const leaves: (() => void)[] = []
  for (const name of names) {
    void places.enter({ group: name[0] ?? null, isUrgent: name.endsWith('!') }).then((leave) => {
      inside.push(name)
      leaves.push(leave)
    })
    await settled()
  }
  const leave = async () => {
    leaves.shift()?.()
    await settled()
  }
  return { inside, leave }
}

const settled = () => new Promise((resolve) => setImmediate(resolve))

describe('places', () => {
  it('so many are inside, and no more', async () => {
    const { inside, leave } = await crowd(2, ['a1', 'a2', 'a3'])
    expect(inside).toEqual(['a1', 'a2'])
    await leave()
    expect(inside).toEqual(['a1', 'a2', 'a3'])
  })

  it('a place that was left twice is one place', async () => {
    const places = placesOf(1)
    const leave = await places.enter({ group: 'a', isUrgent: false })
    leave()
    leave()
    const inside: string[] = []
    void places.enter({ group: 'a', isUrgent: false }).then(() => inside.push('second'))
    void places.enter({ group: 'a', isUrgent: false }).then(() => inside.push('third'))
    await settled()
    expect(inside).toEqual(['second'])
  })

  it('the project with the fewest inside is next', async () => {
    const { inside, leave } = await crowd(2, ['a1', 'a2', 'a3', 'a4', 'b1'])
    await leave()
    await leave()
    expect(inside).toEqual(['a1', 'a2', 'b1', 'a3'])
  })

  it('where a guest stands still is before everybody', async () => {
    const { inside, leave } = await crowd(1, ['a1', 'b1', 'c1', 'a2!'])
    await leave()
    await leave()
    expect(inside).toEqual(['a1', 'a2!', 'b1'])
  })
})
