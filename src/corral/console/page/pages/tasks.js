// All tasks, by filter.

import { useEffect } from "preact/hooks";
import { html } from "../html.js";
import { Filters } from "../parts/filters.js";
import { TaskTable } from "../parts/task_table.js";
import { route } from "../router.js";
import { hideTasks, showTasks } from "../stores/tasks.js";

export function TasksPage() {
  const asked = route.value.query.toString();
  useEffect(() => {
    showTasks(new URLSearchParams(asked));
    return hideTasks;
  }, [asked]);
  return html`<${Filters} /><${TaskTable} />`;
}
