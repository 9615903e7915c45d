// The words of a text, one of which may be chosen. data = {words: [{text, figure, title, ground, ink, unknown}], chosen: index
// or null}; the state “chosen” is [index, word] or null. One stop of the Tab key; the arrow keys go from word to word.
export default function ({ parentElement, data, setStateValue }) {
  const box = parentElement.querySelector(".words"), words = data?.words ?? []
  const content = JSON.stringify(words)
  if (box.content !== content) {
    const at = [...box.children].indexOf(parentElement.activeElement)
    box.replaceChildren(...words.map(makeWord))
    box.content = content
    if (at >= 0) box.children[Math.min(at, words.length - 1)]?.focus()
  }
  box.chosen = data?.chosen ?? null
  box.choose = (i) => setStateValue("chosen", i === box.chosen ? null : [i, words[i].text])
  for (const [i, button] of [...box.children].entries()) {
    button.setAttribute("aria-pressed", String(i === box.chosen))
    button.tabIndex = i === (box.chosen ?? 0) ? 0 : -1
  }
  if (box.listens) return
  box.listens = true
  box.addEventListener("keydown", (event) => {
    const move = { ArrowLeft: -1, ArrowRight: 1, ArrowUp: -1, ArrowDown: 1 }[event.key]
    const next = box.children[[...box.children].indexOf(event.target.closest("button")) + move]
    if (!move || !next) return
    event.preventDefault()
    for (const button of box.children) button.tabIndex = button === next ? 0 : -1
    next.focus()
  })

  function makeWord({ text, figure, title, ground, ink, unknown }, i) {
    const button = document.createElement("button"), word = document.createElement("span"), number = document.createElement("small")
    button.type = "button"
    button.title = title
    button.setAttribute("aria-label", title)
    button.style.background = ground
    button.style.color = ink
    word.textContent = text
    word.className = unknown ? "unknown" : ""
    number.textContent = figure
    button.append(word, number)
    button.addEventListener("click", () => box.choose(i))
    return button
  }
}
