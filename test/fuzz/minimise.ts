/**
 * The failing input with everything left out that it fails without: pieces of half its length first, then ever smaller ones, as long
 * as the tries last.
 */
export async function minimise(
  input: string,
  fails: (input: string) => Promise<boolean>,
  mostTries = 400,
): Promise<string> {
  let smallest = input
  let tries = 0
  for (let piece = Math.ceil(input.length / 2); piece >= 1; piece = piece === 1 ? 0 : Math.ceil(piece / 2)) {
    for (let from = 0; from < smallest.length;) {
      if (tries >= mostTries) return smallest
      tries += 1
      const without = smallest.slice(0, from) + smallest.slice(from + piece)
      if (await fails(without)) smallest = without
      else from += piece
    }
  }
  return smallest
}
