/** Elements in the order of their last use: a doubly linked list over element numbers. */

export class UseOrder {
  readonly #before: number[] = [];
  readonly #after: number[] = [];
  #first = -1;
  #last = -1;

  /** Makes an element the latest, new or not. */
  use(element: number): void {
    if (this.#last === element) return;
    this.forget(element);
    this.#before[element] = this.#last;
    this.#after[element] = -1;
    if (this.#last >= 0) this.#after[this.#last] = element;
    else this.#first = element;
    this.#last = element;
  }

  forget(element: number): void {
    const [before, after] = [this.#before[element] ?? -1, this.#after[element] ?? -1];
    const isIn = before >= 0 || after >= 0 || this.#first === element;
    if (!isIn) return;
    if (before >= 0) this.#after[before] = after;
    else this.#first = after;
    if (after >= 0) this.#before[after] = before;
    else this.#last = before;
    this.#before[element] = -1;
    this.#after[element] = -1;
  }

  /** -1 when empty. */
  oldest(): number {
    return this.#first;
  }
}
