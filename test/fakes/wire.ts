/**
 * Every request that changes something in Ceph or Glance passes here, so that a call of a port can be cut between two of its
 * requests, or one of them held up: it arrives later, when nobody waits for its answer any more.
 */
export interface Wire {
  request: <T>(act: () => T) => T
  /** Asked before each request of `call` until that waits for something; what it throws, `call` fails with. */
  during: <T>(ask: (nth: number, act: () => unknown) => void, call: () => T) => T
}

export function fakeWire(): Wire {
  let asked: ((nth: number, act: () => unknown) => void) | null = null
  let nth = 0
  return {
    request(act) {
      asked?.(nth++, act)
      return act()
    },
    during(ask, call) {
      asked = ask
      nth = 0
      try {
        return call()
      } finally {
        asked = null
      }
    },
  }
}
