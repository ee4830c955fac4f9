// A link from another site comes without the session's cookie (SameSite=Strict). Asked for by this page it comes along.
fetch("/page/session").then((answer) => {
  if (answer.ok) location.replace(location.href);
}, () => {});
