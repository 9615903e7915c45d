// Strokes are [width, x, y, x, y, …] in thousandths of the pad's side; they are sent while they are drawn.
const GRID = 1000, STEP = 8, EVERY = 120 // closest points, and milliseconds between two messages
const MOST_STROKES = 200, MOST_NUMBERS = 20000 // as apps/mnist/pad.py takes them

export default function ({ parentElement, data, setStateValue }) {
  const canvas = parentElement.querySelector("canvas")
  if (!canvas.pad) canvas.pad = makePad(parentElement, canvas, data?.strokes ?? [])
  canvas.pad.send = (strokes) => setStateValue("strokes", strokes)
  canvas.pad.redraw() // the theme may have changed
}

function makePad(root, canvas, strokes) {
  const pen = canvas.getContext("2d"), hint = root.querySelector(".hint"), slider = root.querySelector("input")
  const pad = { send() {}, redraw }
  let current = null, timer = null, cursor = [500, 500], shown = false

  function redraw() {
    const side = Math.round(canvas.clientWidth * (window.devicePixelRatio || 1)) || 280
    if (canvas.width !== side) canvas.width = canvas.height = side
    pen.clearRect(0, 0, side, side)
    pen.lineCap = pen.lineJoin = "round"
    pen.strokeStyle = getComputedStyle(canvas).color
    pen.setTransform(side / GRID, 0, 0, side / GRID, 0, 0)
    for (const [width, ...at] of strokes) {
      pen.lineWidth = width
      pen.beginPath()
      pen.moveTo(at[0], at[1])
      for (let i = 0; i < at.length; i += 2) pen.lineTo(at[i], at[i + 1])
      pen.stroke()
    }
    if (shown) { // where the keyboard's pen is
      pen.lineWidth = 6
      pen.strokeRect(cursor[0] - 15, cursor[1] - 15, 30, 30)
    }
    pen.setTransform(1, 0, 0, 1, 0, 0)
    hint.hidden = strokes.length > 0
  }

  function tell(now) {
    redraw()
    if (now) {
      clearTimeout(timer)
      timer = null
      pad.send(strokes.map((stroke) => [...stroke]))
    } else if (timer === null) {
      timer = setTimeout(() => { timer = null; pad.send(strokes.map((stroke) => [...stroke])) }, EVERY)
    }
  }

  const numbers = () => strokes.reduce((sum, stroke) => sum + stroke.length, 0)
  const place = (event) => {
    const box = canvas.getBoundingClientRect()
    return [(event.clientX - box.left) / box.width, (event.clientY - box.top) / box.height]
      .map((v) => Math.round(Math.min(Math.max(v, 0), 1) * GRID))
  }
  const begin = (at) => {
    if (strokes.length >= MOST_STROKES) return
    current = [Number(slider.value), ...at]
    strokes.push(current)
    tell(false)
  }
  const extend = ([x, y]) => {
    const [px, py] = current.slice(-2)
    if (Math.hypot(x - px, y - py) >= STEP && numbers() < MOST_NUMBERS - 2) current.push(x, y)
  }
  const end = () => {
    if (current === null) return
    current = null
    tell(true)
  }

  canvas.addEventListener("pointerdown", (event) => {
    if (event.button !== 0 || current !== null) return
    event.preventDefault()
    canvas.focus({ preventScroll: true })
    canvas.setPointerCapture(event.pointerId)
    shown = false
    begin(place(event))
  })
  canvas.addEventListener("pointermove", (event) => {
    if (current === null) return
    const events = event.getCoalescedEvents?.() ?? []
    for (const each of events.length ? events : [event]) extend(place(each))
    tell(false)
  })
  canvas.addEventListener("pointerup", end)
  canvas.addEventListener("pointercancel", end)
  canvas.addEventListener("keydown", (event) => {
    const moves = { ArrowLeft: [-40, 0], ArrowRight: [40, 0], ArrowUp: [0, -40], ArrowDown: [0, 40] }
    if (event.key in moves) {
      cursor = cursor.map((v, i) => Math.min(Math.max(v + moves[event.key][i], 0), GRID))
      if (current !== null) { extend(cursor); tell(false) } else redraw()
    } else if (event.key === " ") {
      if (current === null) begin(cursor); else end()
    } else return
    shown = true
    event.preventDefault()
    redraw()
  })
  canvas.addEventListener("blur", () => { shown = false; end(); redraw() })
  root.querySelector(".undo").addEventListener("click", () => { strokes.pop(); tell(true) })
  root.querySelector(".clear").addEventListener("click", () => { strokes.length = 0; tell(true) })
  new ResizeObserver(redraw).observe(canvas)
  strokes = strokes.map((stroke) => [...stroke])
  return pad
}
