/* Choices of a page in the fragment of its address, such as #people&subject=P03: a reload or a link shows the same. */
"use strict";

(() => {
/** Return the choices in the address as an object, without the heading to which the address may lead. */
function readLink() {
  return Object.fromEntries([...new URLSearchParams(location.hash.slice(1))].filter(([, value]) => value));
}

/** Return the id of the heading in the address, or an empty text. */
function readAnchor() {
  const [first] = location.hash.slice(1).split("&");
  return first.includes("=") ? "" : decodeURIComponent(first);
}

/** Write choices into the address, in which empty ones are left out. */
function writeLink(choices) {
  const params = new URLSearchParams(Object.entries(choices).filter(([, value]) => value));
  const fragment = [encodeURIComponent(readAnchor()), params.toString()].filter(Boolean).join("&");
  if (`#${fragment}` !== (location.hash || "#"))
    history.replaceState(history.state, "", fragment ? `#${fragment}` : location.pathname + location.search);
}

Object.assign(globalThis.helo ??= {}, {readAnchor, readLink, writeLink});
})();
