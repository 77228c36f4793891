/**
 * Threads in WebAssembly need a page that its server has cut off from others by two headers. Where they are missing, a
 * service worker adds them, and the page is loaded once more. Without them the model runs on one thread.
 */
const TRIED = "duologue.isolation";

export async function isolate(): Promise<void> {
  if (globalThis.crossOriginIsolated || !navigator.serviceWorker) return;
  try {
    if (sessionStorage.getItem(TRIED)) return; // it did not help: not again and again
    sessionStorage.setItem(TRIED, "yes");
    await navigator.serviceWorker.register(new URL("isolation.js", document.baseURI));
    await navigator.serviceWorker.ready;
    location.reload();
  } catch {
    // No service workers here, as in a private window: one thread.
  }
}
