import { mkdirSync, rmSync } from 'node:fs'
import { createServer, type Server, type Socket } from 'node:net'
import { join } from 'node:path'
import type { Cluster } from './cluster.ts'
import { type Beat, writeBeat } from './guest-disk.ts'
import type { Disk } from './nova-instances.ts'
import { agentParser } from './qemu-ga.ts'
import type { Records } from './records.ts'

/**
 * on       answers
 * none     not in the image: there is no socket
 * stopped  the socket takes everything and never answers
 * hanging  freezes the file systems and never answers that command: a client that gave up has left a frozen guest
 */
export type AgentState = 'on' | 'none' | 'stopped' | 'hanging'

export interface Freeze {
  frozenAtMs: number
  thawedAtMs: number | null
  frozenBy: string
  thawedBy: string | null
}

export interface Guest {
  id: string
  disk: Disk
  /** suspended: its memory is saved and there is no qemu process */
  state: 'running' | 'paused' | 'suspended' | 'off'
  agent: AgentState
  isFrozen: boolean
  freezes: Freeze[]
  /** freezes asked for while frozen */
  refusals: number
  beats: number
  /** heartbeats that wait for the thaw */
  queued: number
}

/** Of each guest; thousands of them leave one process no time for anything else. */
const usualBeatMs = 1000
const commitMs = 30
/** sockaddr_un has 108 bytes with the final zero */
const longestSocketPath = 107

/** The running guests: each beats on its disk, and its agent listens on `<folder>/<instance>.sock`. */
export function openGuests(options: {
  records: Records
  clusters: Record<Disk['cluster'], Cluster>
  folder: string
  beatMs?: number
}) {
  const { clusters, beatMs = usualBeatMs } = options
  const guests = options.records.table<Guest>('guest')
  const agents = new Map<string, Server>()
  let connections = 0
  let isClosed = false
  mkdirSync(options.folder, { recursive: true })

  const path = (id: string) => join(options.folder, `${id}.sock`)
  const save = (guest: Guest) => guests.put(guest.id, guest)
  const isUp = (guest: Guest) => guest.state === 'running'

  function write(guest: Guest, fs: Beat['fs'], place: 'record' | 'commit') {
    try {
      writeBeat(clusters, guest.disk, place, { beat: guest.beats, atMs: Date.now(), fs })
    } catch {
      // a disk removed under its guest: the guest sees an I/O error and the cloud goes on
    }
  }

  function beat(id: string) {
    const guest = guests.get(id)
    if (!guest || !isUp(guest)) return
    if (guest.isFrozen) {
      save({ ...guest, queued: guest.queued + 1 })
      return
    }
    const next = { ...guest, beats: guest.beats + 1 }
    save(next)
    write(next, 'mounted', 'record')
    setTimeout(() => {
      const now = isClosed ? undefined : guests.get(id)
      if (now && isUp(now) && !now.isFrozen) write(now, 'mounted', 'commit')
    }, commitMs)
  }

  function freeze(id: string, by: string): number {
    const guest = guests.get(id)
    if (!guest) return 0
    for (const place of ['record', 'commit'] as const) write(guest, 'frozen', place)
    const made: Freeze = { frozenAtMs: Date.now(), thawedAtMs: null, frozenBy: by, thawedBy: null }
    save({ ...guest, isFrozen: true, freezes: [...guest.freezes, made] })
    return 1
  }

  function thaw(id: string, by: string): number {
    const guest = guests.get(id)
    if (!guest?.isFrozen) return 0
    const freezes = guest.freezes.map((f) =>
      f.thawedAtMs === null ? { ...f, thawedAtMs: Date.now(), thawedBy: by } : f,
    )
    const next = { ...guest, isFrozen: false, freezes, beats: guest.beats + guest.queued, queued: 0 }
    save(next)
    for (const place of ['record', 'commit'] as const) write(next, 'mounted', place)
    return 1
  }

  /** virtio-serial has one client at a time: the next is heard when the one before has gone. */
  function listen(id: string) {
    if (agents.has(id)) return
    if (Buffer.byteLength(path(id)) > longestSocketPath) throw new Error(`too long for a unix socket: ${path(id)}`)
    rmSync(path(id), { force: true })
    const queue: { socket: Socket; name: string }[] = []
    let name = ''
    const parser = agentParser({
      isFrozen: () => guests.get(id)?.isFrozen ?? false,
      freeze: () => freeze(id, name),
      thaw: () => thaw(id, name),
      refused() {
        const guest = guests.get(id)
        if (guest) save({ ...guest, refusals: guest.refusals + 1 })
      },
    })
    function serveNext() {
      const first = queue[0]
      if (!first) return
      name = first.name
      first.socket.on('data', (bytes: Buffer) => {
        if (!answers(id)) return
        for (const reply of parser.feed(bytes)) {
          const isHeldBack = guests.get(id)?.agent === 'hanging' && bytes.includes('guest-fsfreeze-freeze')
          if (!isHeldBack) first.socket.write(reply)
        }
      })
      first.socket.resume()
    }
    const server = createServer((socket) => {
      connections += 1
      const entry = { socket, name: `connection ${String(connections)}` }
      queue.push(entry)
      socket.pause()
      socket.on('error', () => socket.destroy())
      socket.on('close', () => {
        const wasServed = queue[0] === entry
        queue.splice(queue.indexOf(entry), 1)
        if (wasServed) serveNext()
      })
      if (queue.length === 1) serveNext()
    })
    server.on('close', () => {
      for (const { socket } of [...queue]) socket.destroy()
    })
    server.listen(path(id))
    agents.set(id, server)
  }

  function answers(id: string): boolean {
    const guest = guests.get(id)
    return guest !== undefined && isUp(guest) && guest.agent !== 'stopped'
  }

  function hangUp(id: string) {
    const server = agents.get(id)
    agents.delete(id)
    if (!server) return
    server.close()
    server.emit('close')
    rmSync(path(id), { force: true })
  }

  /** Opens or closes the agent's socket and the watch on the disk, as the guest's state asks for. */
  function settle(guest: Guest) {
    save(guest)
    const hasProcess = guest.state === 'running' || guest.state === 'paused'
    if (hasProcess && guest.agent !== 'none') listen(guest.id)
    else hangUp(guest.id)
    const cluster = clusters[guest.disk.cluster]
    const { pool, image } = guest.disk
    if (!cluster.images(pool).includes(image)) return
    if (hasProcess) cluster.addWatcher(pool, image, guest.id)
    else cluster.removeWatcher(pool, image, guest.id)
  }

  function setState(id: string, state: Guest['state']) {
    if (state === 'off') thaw(id, 'power off')
    const guest = guests.get(id)
    if (guest) settle({ ...guest, state })
  }

  for (const guest of guests.all()) settle(guest)
  const timer = setInterval(() => {
    for (const guest of guests.all()) beat(guest.id)
  }, beatMs)

  return {
    add(id: string, disk: Disk, agent: AgentState) {
      settle({
        id,
        disk,
        agent,
        state: 'running',
        isFrozen: false,
        freezes: [],
        refusals: 0,
        beats: 0,
        queued: 0,
      })
      beat(id)
    },
    all: () => guests.all(),
    find: (id: string) => guests.get(id),
    setState,
    setAgent(id: string, agent: AgentState): boolean {
      const guest = guests.get(id)
      if (guest) settle({ ...guest, agent })
      return guest !== undefined
    },
    remove(id: string) {
      setState(id, 'off')
      guests.remove(id)
    },
    close() {
      isClosed = true
      clearInterval(timer)
      for (const id of [...agents.keys()]) hangUp(id)
    },
  }
}
export type Guests = ReturnType<typeof openGuests>
