/** What librbd gives back: a positive errno, and whether the image or the pool was the matter. */
export class RbdError extends Error {
  readonly errno: number
  readonly component: 'rbd' | 'pool'

  constructor(errno: number, words: string, component: 'rbd' | 'pool' = 'rbd') {
    super(words)
    this.name = 'RbdError'
    this.errno = errno
    this.component = component
  }
}

export const EPERM = 1
export const ENOENT = 2
export const EBUSY = 16
export const EEXIST = 17
export const EINVAL = 22
export const ENOSYS = 38
export const ENOTEMPTY = 39
