import { takingTurns } from '../../shared/fair.ts'

/** Places that many wait for: what is urgent is first, then the groups take turns, as they do in a queue. */
export interface Places {
  /** Waits for a place; the function given back leaves it. */
  enter: (who: Who) => Promise<() => void>
}

interface Who {
  group: string | null
  isUrgent: boolean
}

export function placesOf(count: number): Places {
  const inside = new Set<Who>()
  let waiting: { who: Who; goIn: () => void }[] = []
  const turns = takingTurns<(typeof waiting)[number]>(({ who }) => who.group)

  function fill(): void {
    if (inside.size >= count) return
    const urgent = waiting.filter(({ who }) => who.isUrgent)
    const groups = [...inside].map(({ group }) => group)
    const [next] = turns.next(urgent.length > 0 ? urgent : waiting, groups, 1)
    if (!next) return
    waiting = waiting.filter((one) => one !== next)
    inside.add(next.who)
    next.goIn()
    fill()
  }

  return {
    async enter(asking) {
      // one of its own, so that two of the same look are two
      const who = { ...asking }
      await new Promise<void>((goIn) => {
        waiting.push({ who, goIn })
        fill()
      })
      return () => {
        inside.delete(who)
        fill()
      }
    },
  }
}
