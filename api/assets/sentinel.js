// What every page can do better with a script than without. Nothing here is needed.

import { follow } from './live.js';

// A theme is changed without loading the page again.
for (const form of document.querySelectorAll('[data-theme-form]')) {
  form.addEventListener('submit', event => {
    const chosen = event.submitter?.value;
    if (!chosen) return;
    event.preventDefault();
    document.cookie = `sentinel_theme=${chosen}; path=/; max-age=31536000; samesite=strict`;
    document.documentElement.dataset.theme = chosen;
    for (const button of form.querySelectorAll('button')) {
      button.setAttribute('aria-pressed', String(button.value === chosen));
    }
  });
}

// Menus close when one goes on elsewhere, and by Escape, with the focus where it was.
const menus = document.querySelectorAll('details.menu');
document.addEventListener('click', event => {
  for (const menu of menus) if (!menu.contains(event.target)) menu.open = false;
});
document.addEventListener('keydown', event => {
  if (event.key !== 'Escape') return;
  for (const menu of menus) {
    if (!menu.open) continue;
    menu.open = false;
    menu.querySelector('summary').focus();
  }
});

// Long ids are copied whole.
for (const button of document.querySelectorAll('[data-copy]')) {
  if (!navigator.clipboard) continue;
  button.hidden = false;
  button.addEventListener('click', async () => {
    await navigator.clipboard.writeText(button.dataset.copy);
    button.textContent = 'copied';
  });
}

// A slash leads to the search, as elsewhere.
document.addEventListener('keydown', event => {
  const isTyping = event.target.closest?.('input, textarea, select, [contenteditable]');
  if (event.key !== '/' || isTyping || event.ctrlKey || event.metaKey || event.altKey) return;
  const search = document.querySelector('input[type=search]');
  if (!search) return;
  event.preventDefault();
  search.focus();
});

// What could not be shown for a while is asked for again.
const again = document.querySelector('[data-look-again]');
if (again) setTimeout(() => location.assign(again.href), 5000);

follow();
