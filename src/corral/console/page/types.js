// The API's shapes under short names, for the checker alone; they come from the server's OpenAPI description.

/** @typedef {import("corral-api").components["schemas"]} Shapes */
/** @typedef {Shapes["TaskOut"]} Task */
/** @typedef {Shapes["BatchOut"]} Batch */
/** @typedef {Shapes["DeviceOut"]} Device */
/** @typedef {Shapes["SlotOut"]} Slot */
/** @typedef {Shapes["RunningOut"]} Running */
/** @typedef {Shapes["GuestOut"]} Guest */
/** @typedef {Shapes["ProgressOut"]} Progress */
/** @typedef {Shapes["OutputOut"]} Output */
/** @typedef {Shapes["StoryEventOut"]} Line */
/** @typedef {Shapes["ExplanationOut"]} Explanation */
/** @typedef {Shapes["WaitingTask"]} WaitingTask */
/** @typedef {Shapes["SessionOut"]} Session */
/** @typedef {Shapes["Conversation"]} Conversation */
/** @typedef {Shapes["WholeConversation"]} WholeConversation */
/** @typedef {Shapes["Picture"]} Picture */
/** @typedef {Shapes["SetOut"]} PictureSet */
/** @typedef {Shapes["SetPicture"]} SetPicture */
/** @typedef {Shapes["StalePicture"]} StalePicture */
/** @typedef {Shapes["SettingGroup"]} SettingGroup */
/** @typedef {Shapes["SetMade"]} SetMade */
/** @typedef {Shapes["TokenOut"]} Token */
/** @typedef {Shapes["OpenInvitation"]} Invitation */
/** @typedef {Shapes["UsageLineOut"]} UsageLine */
/** @typedef {Shapes["ErrorBody"]} Refusal */
/** @typedef {Shapes["ProblemOut"]} Problem */
/** @typedef {Shapes["EngineOut"]} Engine */
/** @typedef {Shapes["BatchFileForecast"]} BatchForecast */
/** @typedef {Shapes["UploadOut"]} Upload */
/** @typedef {Shapes["ListedModel"]} StoredModel */
/** @typedef {Shapes["InstanceModels"]} InstanceModels */
/** @typedef {Shapes["Figure"]} Figure */
/** @typedef {Shapes["PlanAnswer"]} PlanAnswer */
/** @typedef {Shapes["LayoutPlan"]} LayoutPlan */
/** @typedef {Shapes["PowerAnswer"]} PowerAnswer */
/** @typedef {Shapes["NodePower"]} NodePower */
/** @typedef {Shapes["FitAnswer"]} FitAnswer */
/** @typedef {Shapes["ProfileAnswer"]} ProfileAnswer */
/** @typedef {Shapes["PipelineAnswer"]} PipelineAnswer */
/** @typedef {Shapes["ForecastAnswer"]} ForecastAnswer */
/** @typedef {Shapes["WorkloadForecast"]} WorkloadForecast */
/** @typedef {Shapes["ListedGpu"]} GpuModel */
/** @typedef {Shapes["ChecklistAnswer"]} Checklist */
/** @typedef {Shapes["ItemAnswer"]} ChecklistItem */
/** @typedef {Shapes["LintAnswer"]} LintAnswer */
/** @typedef {Shapes["DoctorAnswer"]} DoctorAnswer */
/** @typedef {Shapes["ModelList"]} ModelList */
/** @typedef {Shapes["HostedModels"]} HostedModels */
/** @typedef {Task["state"]} TaskState */
/** @typedef {Task["priority"]} Priority */

/**
 * What has changed of devices, slots and guests; the event `slots` of the stream.
 * @typedef {{whole: boolean, devices: Device[], items: Slot[], guests: Guest[] | null, gone: string[],
 *   gone_devices: string[]}} SlotsChanged
 */

export {};
