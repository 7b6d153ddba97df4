import { Failure } from '../failures.ts'

interface Page<T> {
  items: T[]
  /** what to ask the next page after; undefined on the last one */
  next: string | undefined
}

/** More than any cloud has of one server's images, or of servers with one tag. */
const mostItems = 100_000

/** All of a list that comes in pages. One that leads back to a page that was there already has no end. */
export async function allPages<T>(what: string, page: (after: string) => Promise<Page<T>>): Promise<T[]> {
  const all: T[] = []
  const asked = new Set<string>()
  for (let after: string | undefined = ''; after !== undefined;) {
    if (asked.has(after) || all.length > mostItems)
      throw new Failure('ANSWER_UNREADABLE', `${what}: the list has no end (${all.length} so far)`)
    asked.add(after)
    const { items, next }: Page<T> = await page(after)
    for (const item of items) all.push(item)
    after = next
  }
  return all
}
