// Pictures that a user attaches, made small enough for a model and for the database.

/** The longer side: most models that look at pictures shrink them to this or less. */
const LONGEST_PX = 1024;
const QUALITY = 0.85;

/**
 * Return a picture as a `data:` URL of a JPEG, which every server reads; what is transparent becomes white.
 * @param {File} file
 */
export async function shrinkPicture(file) {
  const bitmap = await createImageBitmap(file);
  const scale = Math.min(1, LONGEST_PX / Math.max(bitmap.width, bitmap.height));
  const canvas = document.createElement("canvas");
  canvas.width = Math.max(1, Math.round(bitmap.width * scale));
  canvas.height = Math.max(1, Math.round(bitmap.height * scale));
  const context = canvas.getContext("2d");
  if (context === null) throw new Error("this browser draws no pictures");
  context.fillStyle = "white";
  context.fillRect(0, 0, canvas.width, canvas.height);
  context.drawImage(bitmap, 0, 0, canvas.width, canvas.height);
  bitmap.close();
  return canvas.toDataURL("image/jpeg", QUALITY);
}
