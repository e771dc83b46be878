// What the vendor calls an error, small below it: users copy it when they ask the vendor or the operator.
import { createCopyButton } from "../copy-button.js";
import { text } from "../translations.js";
/** @import { ErrorDetails } from "../types.js" */

/**
 * Describes the vendor's code and request id; empty without either.
 * @param {ErrorDetails | null | undefined} details
 */
export function describeVendorDetails(details) {
  const { vendor_code: code, vendor_request_id: id } = details ?? {};
  return [code && text("vendorCode", { code }), id && text("vendorRequest", { id })].filter(Boolean).join(" · ");
}

/**
 * Returns a line with a copy button, in a list that is empty when the vendor gave neither code nor id.
 * @param {ErrorDetails | null | undefined} details
 */
export function createVendorDetails(details) {
  const description = describeVendorDetails(details);
  if (!description) return [];
  const line = document.createElement("div");
  line.className = "failure-vendor";
  const code = document.createElement("code");
  code.textContent = description;
  line.append(
    code,
    createCopyButton(() => description),
  );
  return [line];
}
