// What a page does: it opens an event stream and leaves the rest to the browser. Each event is a line.
import { createRequire } from "node:module";

const [modules, url] = process.argv.slice(2);
const { EventSource } = createRequire(`${modules}/`)("eventsource");
const source = new EventSource(url);
source.onopen = () => console.log("open");
source.onerror = () => console.log("error");
source.onmessage = (event) => console.log(`message ${JSON.parse(event.data).text} ${event.lastEventId}`);
