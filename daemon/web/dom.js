// Elements, found and made. What comes from a model or a log goes in as text and never as markup.

export const find = (selector, within = document) => within.querySelector(selector);
export const findAll = (selector, within = document) => [...within.querySelectorAll(selector)];

/** An element with these attributes and children; strings become text. */
export function make(name, attributes = {}, ...children) {
  const element = document.createElement(name);
  put(element, attributes);
  element.append(...children.filter((child) => child !== null && child !== undefined));
  return element;
}

/** The same in SVG. */
export function draw(name, attributes = {}, ...children) {
  const element = document.createElementNS("http://www.w3.org/2000/svg", name);
  put(element, attributes);
  element.append(...children);
  return element;
}

function put(element, attributes) {
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (value === true) element.setAttribute(name, "");
    else if (value !== false && value !== null && value !== undefined) element.setAttribute(name, value);
  }
}

/** Says it to screen readers once; what streams is said when it is whole. */
export function announce(text) {
  find("#announcer").textContent = text;
}

/** Shows what went wrong as the daemon says it, or nothing. */
export function showProblem(element, error) {
  element.hidden = !error;
  element.replaceChildren();
  if (!error) return;
  const code = error.code ? make("code", {}, error.code) : null;
  element.append(make("span", {}, error.message), ...(code ? [" ", code] : []));
}

/** A number of milliseconds or seconds, as a person reads it. */
export function duration(milliseconds) {
  if (milliseconds < 1) return `${milliseconds.toPrecision(2)} ms`;
  if (milliseconds < 1000) return `${Math.round(milliseconds)} ms`;
  return `${(milliseconds / 1000).toFixed(milliseconds < 10000 ? 2 : 1)} s`;
}

/** A time as this machine's people write it. */
export const time = (timestamp) => new Date(timestamp).toLocaleString(undefined, { dateStyle: "medium", timeStyle: "medium" });

export function rounded(number) {
  if (!Number.isFinite(number)) return "–";
  return Math.abs(number) >= 100 ? Math.round(number).toLocaleString("en") : String(Number(number.toPrecision(3)));
}

export const count = (number, one, many = `${one}s`) => `${number.toLocaleString("en")} ${number === 1 ? one : many}`;
