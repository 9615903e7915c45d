// Pictures to choose from: data.pictures = [{source, label, title}], data.chosen = index or null.
export default function ({ parentElement, data, setStateValue }) {
  const box = parentElement.querySelector(".gallery"), pictures = data?.pictures ?? []
  const sources = pictures.map((each) => each.source).join()
  if (box.sources !== sources) box.replaceChildren(...pictures.map(makeButton))
  box.sources = sources
  box.choose = (i) => setStateValue("chosen", i)
  for (const [i, button] of [...box.children].entries()) button.setAttribute("aria-pressed", String(i === data.chosen))

  function makeButton({ source, label, title }, i) {
    const button = document.createElement("button"), image = document.createElement("img")
    button.type = "button"
    button.title = title
    image.src = source
    image.alt = title
    button.append(image, label)
    button.addEventListener("click", () => box.choose(i))
    return button
  }
}
