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

/** Write choices into the address, in which empty ones are left out.
    isNew: whether the back button returns to the address before. anchor: id of the heading to name. */
function writeLink(choices, isNew = true, anchor = readAnchor()) {
  const params = new URLSearchParams(Object.entries(choices).filter(([, value]) => value));
  const fragment = [encodeURIComponent(anchor), params.toString()].filter(Boolean).join("&");
  if (`#${fragment}` === (location.hash || "#")) return;
  const address = fragment ? `#${fragment}` : location.pathname + location.search;
  if (isNew) history.pushState(null, "", address);
  else history.replaceState(history.state, "", address);
}

/** Follow links within the page without a change of the choices in the address. onFollow: called with the id of the target. */
function followAnchors(onFollow = () => {}) {
  document.addEventListener("click", event => {
    const link = event.target.closest?.('a[href^="#"]');
    const target = link && document.getElementById(link.hash.slice(1));
    if (!target || event.ctrlKey || event.metaKey || event.shiftKey) return;
    event.preventDefault();
    onFollow(target.id);
    if (!target.hasAttribute("tabindex")) target.tabIndex = -1;
    target.focus({preventScroll: true});
    target.scrollIntoView();
  });
}

Object.assign(globalThis.helo ??= {}, {followAnchors, readAnchor, readLink, writeLink});
})();
