// Keeps what is marked `data-live` as new as the server has it: told by the server that there may be
// something new, it loads the page again and puts those parts in the place of the old ones.
//
// The page is parsed as a document, in which no script runs; nothing makes markup of a text.

const SOONEST = 900;
const POLL = 10_000;

let source = null;
let isPaused = false;
let isLooking = false;
let due = 0;
let last = 0;
let poll = 0;
let beat = 0;

const state = document.querySelector('[data-live-state]');
const pause = document.querySelector('[data-live-pause]');

function say(word) {
  if (state && state.textContent !== word) state.textContent = word;
  if (state) state.dataset.liveState = word;
}

function load(url) {
  return new Promise((resolve, reject) => {
    const request = new XMLHttpRequest();
    request.responseType = 'document';
    request.open('GET', url);
    request.onload = () => resolve({ status: request.status, page: request.response });
    request.onerror = () => reject(new Error('the server does not answer'));
    request.timeout = 10_000;
    request.ontimeout = request.onerror;
    request.send();
  });
}

// What one opened stays open, and the focus stays where it is.
function replace(old, fresh) {
  if (old.isEqualNode(fresh)) return;
  const open = new Map();
  for (const details of old.querySelectorAll('details[id]')) open.set(details.id, details.open);
  const focused = old.contains(document.activeElement) ? document.activeElement : null;
  // Whoever types or marks a text there is not disturbed.
  const selection = getSelection();
  const isMarking = selection && !selection.isCollapsed && old.contains(selection.anchorNode);
  if (isMarking || focused?.matches('input, select, textarea')) return;
  const parts = [...fresh.childNodes].map(node => document.importNode(node, true));
  const scrolled = [...old.querySelectorAll('[data-keep-scroll]')].map(part => [part.id, part.scrollTop, part.scrollLeft]);
  old.replaceChildren(...parts);
  for (const details of old.querySelectorAll('details[id]')) {
    if (open.has(details.id)) details.open = open.get(details.id);
  }
  for (const [id, top, left] of scrolled) {
    const part = id && document.getElementById(id);
    if (part) [part.scrollTop, part.scrollLeft] = [top, left];
  }
  if (focused) refocus(old, focused);
}

function refocus(within, focused) {
  const same = focused.id
    ? document.getElementById(focused.id)
    : [...within.querySelectorAll(focused.localName)].find(candidate =>
        candidate.getAttribute('href') === focused.getAttribute('href') && candidate.textContent === focused.textContent);
  same?.focus({ preventScroll: true });
}

async function look() {
  clearTimeout(due);
  due = 0;
  if (isLooking || isPaused || document.hidden) return;
  isLooking = true;
  last = Date.now();
  try {
    const { status, page } = await load(location.href);
    // Whose session is over is asked to log in, and what is gone says so.
    if (status === 401 || status === 404) return location.reload();
    if (status !== 200 || !page) return say('waiting for the server');
    for (const old of document.querySelectorAll('[data-live]')) {
      const fresh = page.getElementById(old.id);
      if (fresh) replace(old, fresh);
    }
    document.title = page.title;
    say('live');
    keepTime(page);
  } catch {
    say('waiting for the server');
  } finally {
    isLooking = false;
  }
}

// What moves steadily says how often it is worth a look, for as long as it moves.
function keepTime(page) {
  const every = page.querySelector('[data-live-every]')?.dataset.liveEvery;
  clearTimeout(beat);
  beat = every ? setTimeout(look, Number(every)) : 0;
}

function soon() {
  if (!due) due = setTimeout(look, Math.max(0, last + SOONEST - Date.now()));
}

function listen() {
  stop();
  keepTime(document);
  const from = document.querySelector('[data-live-source]')?.dataset.liveSource;
  if (!from) return;
  source = new EventSource(from);
  for (const name of ['look', 'task', 'end']) source.addEventListener(name, soon);
  // A task that has ended has no more to tell.
  source.addEventListener('end', stop);
  source.onopen = () => say('live');
  source.onerror = () => {
    if (source?.readyState !== EventSource.CLOSED) return;
    // Refused: it is looked at now and then instead.
    poll ||= setInterval(look, POLL);
  };
}

function stop() {
  source?.close();
  source = null;
  clearInterval(poll);
  clearTimeout(beat);
  poll = beat = 0;
}

export function follow() {
  if (!document.querySelector('[data-live-source], [data-live-every]')) return;
  state.hidden = pause.hidden = false;
  pause.addEventListener('click', () => {
    isPaused = !isPaused;
    pause.setAttribute('aria-pressed', String(isPaused));
    pause.textContent = isPaused ? 'Go on with updates' : 'Pause updates';
    if (isPaused) {
      stop();
      say('paused');
    } else {
      listen();
      look();
    }
  });
  document.addEventListener('visibilitychange', () => {
    if (isPaused) return;
    if (document.hidden) {
      stop();
    } else {
      listen();
      look();
    }
  });
  addEventListener('pagehide', stop);
  addEventListener('pageshow', event => {
    if (event.persisted && !isPaused) {
      listen();
      look();
    }
  });
  listen();
}
