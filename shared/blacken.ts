import { withoutKnownSecrets } from './known-secrets.ts'

/**
 * Text with everything that looks like a secret removed: for bodies that cannot be read, and for the log. It comes from the bus
 * and may be hostile, so every part of this takes time in proportion to its length.
 */
export function blacken(text: string): string {
  return (
    blackenValues(withoutKnownSecrets(text))
      .replace(/gAAAAA[\w-]{8,}=*/g, '(removed)')
      // a cephx key: type 1, a date, 16 bytes
      .replace(/\bAQ[\w+/]{36}==/g, '(removed)')
      .replace(/[\w.-]{16,}/g, withoutJwt)
      // a secret key of S3 may have a slash in it, and is in the location as it is (glance_store/_drivers/s3.py)
      .replace(/(\bs3[+\w]{0,8}:\/\/[^\s:/@"]{0,128}:)[^\s"@]{1,128}@/g, '$1(removed)@')
      .replace(/(:\/\/[^\s:/@"]*:)[^\s"/]*@/g, '$1(removed)@')
  )
}

const secretKey = /^_context|token|passw|secret|admin_?pass|credential|user_?data|key_?data|private_?key/i
/** A key and its colon; JSON within JSON puts backslashes before its quotes, Python's own notation uses apostrophes. */
const anyKey = /(?<!\\)(\\*)(["'])([^"'\\]+)\1\2\s*:\s*/g

function blackenValues(text: string): string {
  let clean = ''
  let done = 0
  const keys = new RegExp(anyKey)
  for (let found = keys.exec(text); found; found = keys.exec(text)) {
    const [, slashes = '', quote = '"', key = ''] = found
    if (!secretKey.test(key)) continue
    const start = keys.lastIndex
    const isText = text.startsWith(slashes + quote, start)
    const end = isText
      ? endOfText(text, start + slashes.length + 1, slashes.length, quote)
      : endOfOther(text, start, slashes.length, quote)
    clean += text.slice(done, start) + (isText ? `${slashes}${quote}(removed)${slashes}${quote}` : 'null')
    done = end
    keys.lastIndex = end
  }
  return clean + text.slice(done)
}

/** Behind the quote that ends a text whose quotes have `depth` backslashes before them; the end of all when it is cut off. */
function endOfText(text: string, from: number, depth: number, quote: string): number {
  for (let at = text.indexOf(quote, from); at >= 0; at = text.indexOf(quote, at + 1)) {
    let slashes = 0
    while (at - slashes > from && text[at - slashes - 1] === '\\') slashes += 1
    // Each level of quoting doubles what stands before a quote and adds one, so 1 is within 0, 3 within 1, 7 within 3.
    const isWithin = quote === '"' ? slashes % (2 * depth + 2) === 2 * depth + 1 : slashes > depth
    if (!isWithin) return at + 1
  }
  return text.length
}

/** Behind an object, an array, a number, true, false or null. */
function endOfOther(text: string, from: number, depth: number, quote: string): number {
  let open = 0
  for (let at = from; at < text.length; at++) {
    const c = text[at]
    if (c === quote) {
      if (open === 0) return at
      at = endOfText(text, at + 1, depth, quote) - 1
    } else if (c === '{' || c === '[') open += 1
    else if (c === '}' || c === ']') {
      if (open === 0) return at
      open -= 1
      if (open === 0) return at + 1
    } else if (c === ',' && open === 0) return at
  }
  return text.length
}

function withoutJwt(word: string): string {
  const at = word.indexOf('eyJ')
  return at >= 0 && word.includes('.', at) ? `${word.slice(0, at)}(removed)` : word
}
