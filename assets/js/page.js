/* What the page's own parts leave to be said to those who do not see it. */
(function () {
  "use strict";
  /** A list whose children are buttons is a group of them. */
  const mend = () => {
    for (const list of document.querySelectorAll('#chat-log [role="list"]')) if (list.querySelector(":scope > button")) list.setAttribute("role", "group");
  };
  new MutationObserver(mend).observe(document.documentElement, { childList: true, subtree: true });
  mend();
})();
