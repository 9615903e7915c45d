// A field whose text is sent while it is typed. data = {label, text: at first, most: characters, rows, hint,
// examples: [{label, text}]}; the state “text” is what stands in the field.
const EVERY = 60 // milliseconds from a key to the message that tells of it

export default function ({ parentElement, data, setStateValue }) {
  const area = parentElement.querySelector("textarea")
  if (!area.tell) makeField(parentElement, area, data)
  area.send = (text) => setStateValue("text", text)
}

function makeField(root, area, { label, text, most, rows, hint, examples }) {
  let timer = null
  root.querySelector(".name").textContent = label
  area.value = text
  area.rows = rows
  area.maxLength = most
  area.placeholder = hint
  area.tell = () => {
    clearTimeout(timer)
    timer = null
    area.send(area.value)
  }
  area.addEventListener("input", () => { timer ??= setTimeout(area.tell, EVERY) })
  area.addEventListener("blur", () => { if (timer !== null) area.tell() })
  for (const each of examples ?? []) {
    const button = document.createElement("button")
    button.type = "button"
    button.textContent = each.label
    button.addEventListener("click", () => {
      area.value = each.text
      area.tell()
      if (!each.text) area.focus()
    })
    root.querySelector(".tools").append(button)
  }
}
