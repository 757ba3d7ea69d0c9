// Where the state is written: the fragment of the page's own address, or, in TensorBoard's tab, of TensorBoard's, since
// the tab is a frame whose own address nobody sees. TensorBoard's fragment is #rra or #rra&other=…; ours is one item of it.

const ITEM = "rra-page";
const OURS = /^#rra(&|$)/; // TensorBoard's fragment while it shows our tab
const WAIT = 350; // milliseconds; browsers refuse more than a hundred changes of the address in 30 seconds

export function createAddress() {
  const host = hostWindow();
  const target = host ?? window;
  const take = host ? hostItem : (hash) => hash.slice(1);
  const put = host ? withHostItem : (_, text) => (text ? `#${text}` : " ");
  let timer = null;
  let pending = null;
  let written = null;
  const flush = () => {
    timer = null;
    written = pending;
    // The reader may have gone to another of TensorBoard's tabs by now.
    if (host && target.location.hash.length > 1 && !OURS.test(target.location.hash)) return;
    const hash = put(target.location.hash, pending);
    pending = null;
    target.history.replaceState(target.history.state, "", hash === " " ? target.location.pathname + target.location.search : hash);
  };
  return {
    // null: nothing of ours stands there, since TensorBoard shows another tab, say.
    read: () => pending ?? take(target.location.hash),
    write(text) {
      pending = text;
      timer ??= setTimeout(flush, WAIT);
    },
    listen(listener) {
      target.addEventListener("hashchange", () => {
        const text = take(target.location.hash);
        // Back from another of TensorBoard's tabs, which dropped our item.
        if (text === null && written && OURS.test(target.location.hash)) this.write(written);
        else if (text !== null) listener();
      });
    },
  };
}

// The window that shows us, if it is of our origin and not ourselves.
export function hostWindow() {
  try {
    return window.parent !== window && window.parent.location.href ? window.parent : null;
  } catch {
    return null;
  }
}

function hostItem(hash) {
  const item = hash.slice(1).split("&").find((part) => part.startsWith(`${ITEM}=`));
  try {
    return item ? decodeURIComponent(item.slice(ITEM.length + 1)) : null;
  } catch {
    return null; // a link that was cut off
  }
}

function withHostItem(hash, text) {
  const others = hash.slice(1).split("&").filter((part) => part && !part.startsWith(`${ITEM}=`));
  const own = text ? [`${ITEM}=${encodeURIComponent(text)}`] : [];
  return `#${[...others, ...own].join("&")}`;
}
