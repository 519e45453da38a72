/* The search runs in a Worker, which browsers refuse to pages opened from the disk: there its script runs in a hidden
   frame instead. The offline plugin would fetch a script for this at every view; with this one nothing is fetched. */
if (location.protocol === "file:") {
  const SETUP = `
    const load = (url) => new Promise((done, failed) => {
      const script = document.createElement("script");
      Object.assign(script, { src: url, onload: done, onerror: failed });
      document.head.append(script);
    });
    self.importScripts = (...urls) => urls.reduce((before, url) => before.then(() => load(url)), Promise.resolve());
    self.postMessage = (data) => frameElement.worker.dispatchEvent(new MessageEvent("message", { data }));`;

  window.IFrameWorker = window.Worker = class extends EventTarget {
    constructor(url) {
      super();
      this.frame = document.createElement("iframe");
      this.ready = new Promise((done) => this.frame.addEventListener("load", done));
      Object.assign(this.frame, { worker: this, hidden: true });
      this.frame.srcdoc = `<script>${SETUP}<\/script><script src="${new URL(url, location)}"><\/script>`;
      document.body.append(this.frame);
    }

    async postMessage(data) {
      await this.ready;
      this.frame.contentWindow.dispatchEvent(new MessageEvent("message", { data }));
    }

    terminate() {
      this.frame.remove();
    }
  };
}
