import { hostileJson, hostileNumbers, hostileWords } from './hostile.ts'
import type { Random } from './random.ts'

/**
 * One input made from others. JSON is changed at one place in its tree, also in JSON that is text within JSON, as oslo.messaging
 * wraps it; whatever it is, it is changed as text as well.
 */
export function mutate(input: string, others: string[], random: Random): string {
  let made = input
  for (let changes = 1 + random.below(4); changes > 0; changes -= 1) {
    made = (random.isOneIn(3) ? null : inJson(made, others, random)) ?? inText(made, others, random)
  }
  return made.slice(0, longest)
}

const longest = 256 * 1024

type Path = (string | number)[]

function inJson(input: string, others: string[], random: Random): string | null {
  const tree = parsed(input)
  if (typeof tree !== 'object' || tree === null) return null
  const path = random.pick(placesOf(tree))
  const old = at(tree, path)
  if (typeof old === 'string' && !random.isOneIn(4)) {
    const inner = inJson(old, others, random)
    if (inner !== null) return JSON.stringify(changed(tree, path, () => inner))
  }
  if (random.isOneIn(12)) {
    const mark = 'hostile-json-goes-here'
    const text = JSON.stringify(changed(tree, path, () => mark))
    return text.replace(JSON.stringify(mark), () => random.pick(hostileJson))
  }
  return JSON.stringify(changed(tree, path, () => otherThan(old, others, random)))
}

/** `undefined` leaves the key out. */
function otherThan(old: unknown, others: string[], random: Random): unknown {
  switch (random.below(9)) {
    case 0:
      return undefined
    case 1:
      return random.pick([null, true, false, [], {}, '', 0])
    case 2:
      return random.pick(hostileNumbers)
    case 3:
      return [old, old]
    case 4:
      return { [random.pick(hostileWords)]: old }
    case 5:
      return deep(1 + random.below(200))
    case 6: {
      const other = parsed(random.pick(others))
      return typeof other === 'object' && other !== null ? at(other, random.pick(placesOf(other))) : other
    }
    case 7:
      return typeof old === 'string' ? inText(old, others, random) : JSON.stringify(old)
    default:
      return random.pick(hostileWords)
  }
}

function deep(levels: number): unknown {
  let value: unknown = 1
  for (let level = 0; level < levels; level += 1) value = level % 2 === 0 ? [value] : { a: value }
  return value
}

function inText(input: string, others: string[], random: Random): string {
  const from = random.below(input.length + 1)
  const length = random.isOneIn(3) ? random.below(input.length + 1) : random.below(9)
  const [head, cut, tail] = [input.slice(0, from), input.slice(from, from + length), input.slice(from + length)]
  switch (random.below(6)) {
    case 0:
      return head + tail
    case 1:
      return head + cut + cut + tail
    case 2:
      return head + random.pick(hostileWords) + cut + tail
    case 3:
      return head + random.pick(hostileWords) + tail
    case 4:
      return head + String.fromCharCode(random.below(random.isOneIn(2) ? 128 : 65_536)) + tail
    default: {
      const other = random.pick(others)
      return head + other.slice(random.below(other.length + 1))
    }
  }
}

function parsed(text: string): unknown {
  if (!/^\s*[[{]/.test(text)) return undefined
  try {
    return JSON.parse(text)
  } catch {
    return undefined
  }
}

const mostPlaces = 2_000
function placesOf(tree: object): Path[] {
  const places: Path[] = [[]]
  for (let next = 0; next < places.length && places.length < mostPlaces; next += 1) {
    const path = places[next] ?? []
    const value = at(tree, path)
    if (Array.isArray(value)) places.push(...value.map((_, i) => [...path, i]))
    else if (typeof value === 'object' && value !== null)
      places.push(...Object.keys(value).map((key) => [...path, key]))
  }
  return places.slice(1).length > 0 ? places.slice(1) : places
}

function at(tree: unknown, path: Path): unknown {
  return path.reduce<unknown>((value, key) => (value as Record<string | number, unknown> | null)?.[key], tree)
}

function changed(tree: unknown, [key, ...rest]: Path, change: () => unknown): unknown {
  if (key === undefined) return change() ?? null
  if (Array.isArray(tree))
    return tree.flatMap((value: unknown, i): unknown[] => {
      if (i !== key) return [value]
      const made = rest.length > 0 ? changed(value, rest, change) : change()
      return made === undefined ? [] : [made]
    })
  const entries = Object.entries(tree as object).map(([name, value]: [string, unknown]) =>
    name === key ? [name, rest.length > 0 ? changed(value, rest, change) : change()] : [name, value],
  )
  return Object.fromEntries(entries) as unknown
}
