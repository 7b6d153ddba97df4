/** An instance, and where `reach` found it, so that thawing it needs nobody but its hypervisor. */
export interface GuestAt {
  instance: string
  /** as Nova calls it; null when the way to the guest needs none */
  host: string | null
}

/**
 * A guest that stands still for one `snap create`. `freeze` and `hasHeld` are called only with the thaw armed: either may leave
 * the guest frozen although it ended with an error.
 */
export interface Guest {
  /** what a freeze that held proves: its file systems were flushed, or no more than that nobody wrote meanwhile */
  proves: 'filesystem' | 'crash'
  /**
   * Would a freeze be heard, and at which host? Asked before anything is noted; harmless.
   * QUIESCE_UNAVAILABLE: it cannot be frozen at all; GUEST_UNREACHABLE: nobody answers now.
   */
  reach(at: GuestAt, signal: AbortSignal): Promise<GuestAt>
  /**
   * The same failures. Frozen already is success. After `untilMs` it is not begun any more (TIMEOUT): a function that slept must
   * not freeze a guest whose thaw has come and gone.
   */
  freeze(at: GuestAt, untilMs: number, signal: AbortSignal): Promise<void>
  /**
   * Has the freeze held until now? Whoever cannot look finds out by asking for another freeze, which a frozen agent refuses:
   * after a `false` the guest may be frozen anew. False as well when it does not run, or after `untilMs`.
   */
  hasHeld(at: GuestAt, untilMs: number, signal: AbortSignal): Promise<boolean>
  /**
   * Idempotent and always allowed. `unheard`: nothing runs there to be thawed; what was saved to disk comes back as frozen as it
   * went. GUEST_UNREACHABLE: it may be frozen still.
   */
  thaw(at: GuestAt, signal: AbortSignal): Promise<'thawed' | 'unheard'>
}
