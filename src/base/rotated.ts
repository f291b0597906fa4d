/** The list from `first` on, and then what is before that. */
export function rotated<T>(list: readonly T[], first: number): readonly T[] {
  return [...list.slice(first), ...list.slice(0, first)];
}
