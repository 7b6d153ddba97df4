import { blacken } from '../blacken.ts'

const mostCharacters = 200

/** The words of a backend for people: no markup (Glance and proxies answer HTML), short, and never a token. */
export function quote(text: string): string {
  const words = blacken(withoutMarkup(text)).replace(/\s+/g, ' ').trim()
  return words === '' ? '(nothing)' : words.slice(0, mostCharacters)
}

/**
 * In one pass over the page: a pattern looks for the end of each thing that was opened, and of a page that opens a million things and
 * ends none it would look at the rest a million times.
 */
function withoutMarkup(page: string): string {
  const neverEnd = new Set<string>()

  /** Behind a tag; behind its end tag, when what is between them are no words. */
  function behind(open: number, close: number): number {
    const name = /^<(style|script|head)\b/i.exec(page.slice(open, open + 8))?.[1]?.toLowerCase()
    if (name === undefined || neverEnd.has(name)) return close + 1
    const end = new RegExp(`</${name}>`, 'gi')
    end.lastIndex = open
    if (end.test(page)) return end.lastIndex
    neverEnd.add(name)
    return close + 1
  }

  let clean = ''
  for (let at = 0; ;) {
    const open = page.indexOf('<', at)
    const close = open < 0 ? -1 : page.indexOf('>', open)
    if (close < 0) return clean + page.slice(at)
    clean += `${page.slice(at, open)} `
    at = behind(open, close)
  }
}
